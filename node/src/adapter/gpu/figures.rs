//! The figures of one GPU: its memory, how busy it is, what it draws, how fast it runs and what went wrong in it.

use std::collections::BTreeSet;

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::{Bits, NvmlError};
use nvml_wrapper::struct_wrappers::device::MemoryInfo;
use purser_actors::port::{GpuProcess, GpuReadings, Reading, Slowdown};
use purser_events::Bytes;

use super::caller::{Caller, End, count_discarded, within};

/// Highest temperature that is believed, in degrees Celsius.
const TEMPERATURE_C_MAX: u32 = 200;
/// Highest power that is believed, in milliwatts.
const POWER_MW_MAX: u32 = 20_000_000;
/// Fastest clock that is believed, in MHz.
const CLOCK_MHZ_MAX: u32 = 20_000;
/// Highest count that is believed, of errors and of energy in millijoules: a kilowatt for 285 years.
const COUNT_MAX: u64 = 1 << 53;
/// Most transfers over the bus made again that are believed.
const REPLAYS_MAX: u32 = 1_000_000_000;
/// Reasons for slow clocks that are believed: `nvml.h` has nine, one a bit.
const REASONS_MAX: u64 = 0xffff;
/// All of a device, in percent.
pub(super) const WHOLE_PERCENT: u32 = 100;
/// Every so many looks, what changes rarely is read: some of it is slow to read.
const RARE_LOOKS: u32 = 10;

/// Reads the figures of one GPU.
#[derive(Default)]
pub(super) struct Figures {
    /// Its memory, when it was read last.
    memory: Option<Bytes>,
    /// Looks since what is read rarely was read.
    looks: u32,
    rare: Option<Rare>,
}

/// What is read rarely.
#[derive(Clone)]
struct Rare {
    power_limit_mw: Reading<u32>,
    ecc_corrected: Reading<u64>,
    ecc_uncorrected: Reading<u64>,
    pcie_replays: Reading<u64>,
}

impl Figures {
    /// Reads them, and gives its memory with them.
    pub(super) fn read(
        &mut self,
        caller: &mut Caller,
        device: &Device<'_>,
        processes: Reading<Vec<GpuProcess>>,
    ) -> Result<(Bytes, GpuReadings), End> {
        let (memory, [memory_used, memory_reserved]) = self.memory(caller, device)?;
        let (utilization_percent, memory_utilization_percent) = utilization(caller, device)?;
        let call = "nvmlDeviceGetTemperature";
        let temperature_c = caller.ask(call, || device.temperature(TemperatureSensor::Gpu))?;
        let call_power = "nvmlDeviceGetPowerUsage";
        let power_mw = caller.ask(call_power, || device.power_usage())?;
        let call_energy = "nvmlDeviceGetTotalEnergyConsumption";
        let energy_mj = caller.ask(call_energy, || device.total_energy_consumption())?;
        let Rare { power_limit_mw, ecc_corrected, ecc_uncorrected, pcie_replays } =
            self.rare(caller, device)?;
        let readings = GpuReadings {
            at: caller.board.now(),
            memory_used,
            memory_reserved,
            utilization_percent,
            memory_utilization_percent,
            temperature_c: within(call, temperature_c, TEMPERATURE_C_MAX),
            power_mw: within(call_power, power_mw, POWER_MW_MAX),
            power_limit_mw,
            energy_mj: within(call_energy, energy_mj, COUNT_MAX),
            sm_clock_mhz: clock(caller, device, "sm", Clock::SM)?,
            memory_clock_mhz: clock(caller, device, "memory", Clock::Memory)?,
            slowed_by: slowed_by(caller, device)?,
            ecc_corrected,
            ecc_uncorrected,
            pcie_replays,
            processes,
        };
        Ok((memory, readings))
    }

    /// All of its memory, and what of it is used, and what the driver keeps for itself.
    fn memory(
        &mut self,
        caller: &mut Caller,
        device: &Device<'_>,
    ) -> Result<(Bytes, [Reading<Bytes>; 2]), End> {
        let call = "nvmlDeviceGetMemoryInfo_v2";
        let read = caller.ask(call, || device.memory_info())?;
        let figures = match read {
            Reading::Value(MemoryInfo { total, used, reserved, .. }) => {
                // Each by itself: that one figure cannot be hides no other.
                let part = |bytes: u64, what: &str| {
                    if 0 < total && bytes <= total {
                        return Reading::Value(Bytes(bytes));
                    }
                    count_discarded(call);
                    Reading::Failed(format!("{bytes} of {total} bytes are said to be {what}"))
                };
                let figures = [part(used, "used"), part(reserved, "reserved")];
                if figures[0].value().is_some() {
                    self.memory = Some(Bytes(total));
                }
                figures
            }
            Reading::Unsupported => [Reading::Unsupported, Reading::Unsupported],
            Reading::Failed(reason) => [reason.clone(), reason].map(Reading::Failed),
        };
        match (self.memory, &figures) {
            (Some(memory), _) => Ok((memory, figures)),
            // What has no size can be given to nobody.
            (None, [Reading::Failed(reason), _]) => {
                Err(End::Lost(format!("its memory is not known: {reason}")))
            }
            (None, _) => Err(End::Lost("the driver does not say how much memory it has".to_owned())),
        }
    }

    /// What is read rarely: at the first look, and then every so many.
    fn rare(&mut self, caller: &mut Caller, device: &Device<'_>) -> Result<Rare, End> {
        self.looks += 1;
        if let Some(rare) = self.rare.as_ref().filter(|_| self.looks < RARE_LOOKS) {
            return Ok(rare.clone());
        }
        self.looks = 0;
        let call = "nvmlDeviceGetEnforcedPowerLimit";
        let power_limit_mw = caller.ask(call, || device.enforced_power_limit())?;
        let call_replays = "nvmlDeviceGetPcieReplayCounter";
        let pcie_replays = caller.ask(call_replays, || device.pcie_replay_counter())?;
        let rare = Rare {
            power_limit_mw: within(call, power_limit_mw, POWER_MW_MAX),
            ecc_corrected: ecc(caller, device, "corrected", MemoryError::Corrected)?,
            ecc_uncorrected: ecc(caller, device, "uncorrected", MemoryError::Uncorrected)?,
            pcie_replays: within(call_replays, pcie_replays, REPLAYS_MAX).map(u64::from),
        };
        self.rare = Some(rare.clone());
        Ok(rare)
    }
}

/// How busy it and its memory were.
fn utilization(caller: &mut Caller, device: &Device<'_>) -> Result<(Reading<u32>, Reading<u32>), End> {
    let call = "nvmlDeviceGetUtilizationRates";
    let read = caller.ask(call, || device.utilization_rates())?;
    let read = read.map(|rates| (rates.gpu, rates.memory));
    let part = |of: fn((u32, u32)) -> u32| within(call, read.clone().map(of), WHOLE_PERCENT);
    Ok((part(|(gpu, _)| gpu), part(|(_, memory)| memory)))
}

fn clock(
    caller: &mut Caller,
    device: &Device<'_>,
    name: &'static str,
    of: Clock,
) -> Result<Reading<u32>, End> {
    let call = "nvmlDeviceGetClockInfo";
    Ok(within(call, caller.ask_one(call, name, || device.clock_info(of))?, CLOCK_MHZ_MAX))
}

/// Errors of its memory over its life.
fn ecc(
    caller: &mut Caller,
    device: &Device<'_>,
    name: &'static str,
    of: MemoryError,
) -> Result<Reading<u64>, End> {
    let call = "nvmlDeviceGetTotalEccErrors";
    let read = caller.ask_one(call, name, || device.total_ecc_errors(of, EccCounter::Aggregate))?;
    Ok(within(call, read, COUNT_MAX))
}

fn slowed_by(caller: &mut Caller, device: &Device<'_>) -> Result<Reading<BTreeSet<Slowdown>>, End> {
    let call = "nvmlDeviceGetCurrentClocksThrottleReasons";
    let bits = caller.ask(call, || match device.current_throttle_reasons_strict() {
        // A newer driver may have reasons that the wrapper does not know.
        Err(NvmlError::IncorrectBits(Bits::U64(bits))) => Ok(bits),
        read => read.map(|reasons| reasons.bits()),
    })?;
    if let Reading::Value(bits) = bits
        && REASONS_MAX < bits
    {
        count_discarded(call);
        return Ok(Reading::Failed(format!("the driver has the reasons {bits:#x}, which cannot be")));
    }
    Ok(bits.map(slowdowns))
}

fn slowdowns(bits: u64) -> BTreeSet<Slowdown> {
    let known = [
        (ThrottleReasons::GPU_IDLE, Slowdown::Idle),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, Slowdown::ClocksSetting),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, Slowdown::ClocksSetting),
        (ThrottleReasons::SW_POWER_CAP, Slowdown::PowerCap),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, Slowdown::SoftwareThermal),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, Slowdown::HardwareThermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Slowdown::PowerBrake),
        (ThrottleReasons::HW_SLOWDOWN, Slowdown::Hardware),
    ];
    let named = known.iter().fold(0, |bits, (reason, _)| bits | reason.bits());
    let found = known.into_iter().filter(|(reason, _)| bits & reason.bits() != 0);
    let mut found: BTreeSet<Slowdown> = found.map(|(_, slowdown)| slowdown).collect();
    if bits & !named != 0 {
        found.insert(Slowdown::Other);
    }
    found
}
