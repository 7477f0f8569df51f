//! How GPUs are divided: what TFLOPS are of a device, and which of a pod's GPUs each of its containers gets.

use serde::{Deserialize, Serialize};

use super::capacity::{GpuDevice, GpuUuid};
use super::claims::{Claims, GpuClaim};
use super::grant::{Bound, GpuGrant};
use crate::names::ContainerName;
use crate::units::MilliTflops;

/// One of a pod's GPUs, as its manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GpuPick {
    /// By its place among those that the pod was given, from 0.
    Nth(u32),
    /// By its name.
    Named(GpuUuid),
}

impl GpuClaim {
    /// Whether it is for whole devices, which nobody else has then.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.share.is_none() && self.tflops.is_none()
    }

    /// Percent of a device's compute that is asked for; none for all of it and nobody else.
    ///
    /// # Errors
    /// TFLOPS of which no share of this device can be made, and why.
    pub fn share_of(&self, device: &GpuDevice) -> Result<Option<u32>, Bound> {
        let Some(asked) = self.tflops else { return Ok(self.share) };
        let model = || device.model.clone();
        let Some(most) = device.tflops.filter(|most| most.0 != 0) else {
            return Err(Bound::UnknownModel { model: model() });
        };
        if most < asked {
            return Err(Bound::BeyondModel { asked, model: model(), most });
        }
        match rounded_percent(asked, most) {
            0 => {
                // The least of which half a percent is reached.
                let least = MilliTflops((most.0 - most.0 / 2).div_ceil(100));
                Err(Bound::BelowOnePercent { asked, model: model(), least })
            }
            share => Ok(Some(share)),
        }
    }
}

/// How much of `most` an amount within it is, in percent, rounded to the nearest.
fn rounded_percent(asked: MilliTflops, most: MilliTflops) -> u32 {
    let (asked, most) = (u128::from(asked.0), u128::from(most.0));
    u32::try_from((asked * 100 + most / 2) / most).unwrap_or(100)
}

impl Claims {
    /// What a container gets of the GPUs that its pod was given, in their order.
    #[must_use]
    pub fn gpus_of(&self, container: &ContainerName, granted: &[GpuGrant]) -> Vec<GpuGrant> {
        if self.container_gpus.is_empty() {
            return granted.to_vec();
        }
        let Some(picks) = self.container_gpus.get(container) else { return vec![] };
        let is_picked = |index: usize, gpu: &GpuGrant| {
            let by_place = u32::try_from(index).is_ok_and(|index| picks.contains(&GpuPick::Nth(index)));
            by_place || picks.contains(&GpuPick::Named(gpu.uuid.clone()))
        };
        let picked = granted.iter().enumerate().filter(|(index, gpu)| is_picked(*index, gpu));
        picked.map(|(_, gpu)| gpu.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Bytes;

    fn uuid(name: &str) -> GpuUuid {
        GpuUuid::new(name).expect("a name")
    }

    fn device(tflops: Option<u64>) -> GpuDevice {
        let tflops = tflops.map(MilliTflops);
        GpuDevice { uuid: uuid("GPU-a"), model: "A100".to_owned(), memory: Bytes(80), tflops }
    }

    fn share(asked: u64, most: Option<u64>) -> Result<Option<u32>, Bound> {
        let tflops = Some(MilliTflops(asked));
        let claim = GpuClaim { count: 1, share: None, memory: None, uuids: [].into(), tflops };
        claim.share_of(&device(most))
    }

    #[test]
    fn tflops_are_percent_of_what_the_device_has() {
        let most = 312_000;
        for (asked, percent) in [(312_000, 100), (156_000, 50), (100_000, 32), (1_560, 1), (3_120, 1)] {
            assert_eq!(share(asked, Some(most)), Ok(Some(percent)), "{asked}");
        }
        assert_eq!(share(31_200, Some(65_000)), Ok(Some(48)), "each device for itself");
    }

    #[test]
    fn what_is_no_share_is_refused_and_never_unlimited() {
        let told = |asked, most| share(asked, most).expect_err("no share");
        let model = "A100".to_owned();
        assert_eq!(told(1, None), Bound::UnknownModel { model: model.clone() });
        assert_eq!(told(1, Some(0)), Bound::UnknownModel { model: model.clone() });
        let (asked, most) = (MilliTflops(312_001), MilliTflops(312_000));
        assert_eq!(told(312_001, Some(312_000)), Bound::BeyondModel { asked, model: model.clone(), most });
        let (asked, least) = (MilliTflops(1_559), MilliTflops(1_560));
        assert_eq!(told(1_559, Some(312_000)), Bound::BelowOnePercent { asked, model, least });
    }

    proptest! {
        #[test]
        fn the_least_that_is_named_is_the_least(most in 1_u64..1 << 40) {
            if let Err(Bound::BelowOnePercent { least, .. }) = share(0, Some(most)) {
                prop_assert_eq!(share(least.0, Some(most)).expect("it is enough"), share(most.div_ceil(100), Some(most)).expect("one percent"));
                prop_assert!(least.0 == 0 || share(least.0 - 1, Some(most)).is_err());
            }
        }

        #[test]
        fn a_share_is_1_to_100_percent(asked in 0_u64..=u64::MAX, most in 0_u64..=u64::MAX) {
            if let Ok(share) = share(asked, Some(most)) {
                prop_assert!((1..=100).contains(&share.expect("TFLOPS are a share")));
            }
        }
    }

    #[test]
    fn a_container_gets_the_gpus_that_are_its_own() {
        let gpu = |name: &str| GpuGrant { uuid: uuid(name), share: 50, memory: Bytes(1), whole: false };
        let granted = [gpu("GPU-b"), gpu("GPU-a")];
        let name = |name: &str| ContainerName::new(name).expect("a name");
        let all = Claims::default();
        assert_eq!(all.gpus_of(&name("main"), &granted), granted);
        let picks = [
            (name("main"), [GpuPick::Nth(0)].into()),
            (name("side"), [GpuPick::Named(uuid("GPU-a"))].into()),
        ];
        let divided = Claims { container_gpus: picks.into(), ..Claims::default() };
        assert_eq!(divided.gpus_of(&name("main"), &granted), [gpu("GPU-b")]);
        assert_eq!(divided.gpus_of(&name("side"), &granted), [gpu("GPU-a")]);
        assert_eq!(divided.gpus_of(&name("init"), &granted), []);
    }
}
