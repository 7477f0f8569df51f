//! What must hold whatever a GPU does: random scripts of looks, faults and operators.

use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use purser_events::Decider;
use purser_events::gpu::{Degradation, Gpu, GpuHealthPolicy, Health, Standing};

use super::{Lived, cordon, fine, hung, lost, slowed, uncordon};

/// What is done in a step of a script.
#[derive(Debug, Clone)]
enum Step {
    /// So many looks, a second apart, see it so.
    Fine(u64),
    Lost(u64),
    Hung(u64),
    Slowed(u64),
    Unknown(u64),
    /// It is there and gone in turn, so many times.
    Flaps(u64),
    /// The driver tells of this.
    Fault(u32),
    Cordon,
    Uncordon,
    /// The service is started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..150).prop_map(Step::Fine),
        2 => (1_u64..40).prop_map(Step::Lost),
        2 => (1_u64..40).prop_map(Step::Hung),
        1 => (1_u64..70).prop_map(Step::Slowed),
        1 => (1_u64..10).prop_map(Step::Unknown),
        3 => (1_u64..200).prop_map(Step::Flaps),
        1 => prop::sample::select(vec![13_u32, 31, 79, 94, 1_000]).prop_map(Step::Fault),
        1 => any::<bool>().prop_map(|on| if on { Step::Cordon } else { Step::Uncordon }),
        1 => any::<bool>().prop_map(|_| Step::Restart),
    ]
}

/// What a script has led to, beside what the entity says.
struct Judge {
    lived: Lived,
    /// How long each look was clean, one after the other; none once it never was of no use.
    clean: Option<Duration>,
    looks: u64,
}

impl Judge {
    fn look(&mut self, seen: &super::Seen) {
        let before = self.lived.gpu.clone();
        let gave_out = self.lived.gives_out();
        let is_known = matches!(before, Gpu::Known(_));
        let events = self.lived.see_for(1, seen);
        self.looks += 1;
        let is_clean = seen.standing == Some(Standing::Answers);
        let is_out = events.iter().any(|event| {
            matches!(event, super::GpuEvent::HealthChanged(it) if matches!(it.health, Health::Faulty { .. }))
        });
        self.clean = match self.clean {
            _ if !is_clean || is_out => is_known.then_some(Duration::ZERO).or(self.clean),
            Some(clean) => Some(clean + Duration::from_secs(1)),
            None => None,
        };
        if !is_clean && !is_known && matches!(self.lived.gpu, Gpu::Known(_)) {
            self.clean = Some(Duration::ZERO);
        }
        // Given out anew only after the whole of the probation.
        if self.lived.gives_out() && !gave_out && is_known {
            let clean = self.clean.expect("what was not given out was of no use");
            assert!(Duration::from_secs(60) <= clean, "given out after {clean:?}");
        }
        if seen.standing.is_some() && !is_clean {
            assert!(!self.lived.gives_out(), "given out while it does not answer");
        }
    }

    fn step(&mut self, step: &Step) {
        let each = |judge: &mut Judge, count: u64, seen: super::Seen| {
            (0..count).for_each(|_| judge.look(&seen));
        };
        match step {
            Step::Fine(count) => each(self, *count, fine()),
            Step::Lost(count) => each(self, *count, lost()),
            Step::Hung(count) => each(self, *count, hung()),
            Step::Slowed(count) => each(self, *count, slowed(Degradation::PowerBrake)),
            Step::Unknown(count) => each(self, *count, super::Seen { standing: None, ..fine() }),
            Step::Flaps(count) => {
                for _ in 0..*count {
                    self.look(&lost());
                    self.look(&fine());
                }
            }
            Step::Fault(xid) => self.lived.fault(*xid),
            Step::Cordon => drop(self.lived.ask(&cordon("a test"))),
            Step::Uncordon => {
                let gave_out = self.lived.gives_out();
                let events = self.lived.ask(&uncordon()).unwrap_or_default();
                assert!(gave_out || !self.lived.gives_out(), "an operator does not skip the probation");
                if !super::healths(&events).is_empty() {
                    self.clean = Some(Duration::ZERO);
                }
            }
            Step::Restart => {
                self.lived.watch = purser_events::gpu::Watch::default();
                self.lived.faults.clear();
            }
        }
    }
}

#[test]
fn a_gpu_is_given_out_after_its_probation_alone_and_makes_no_stream_of_events() {
    let policy = GpuHealthPolicy::default();
    let mut runner = TestRunner::new(Config { cases: 1_000, ..Config::default() });
    let scripts = prop::collection::vec(step(), 1..40);
    let outcome = runner.run(&scripts, |script| {
        let mut judge = Judge { lived: Lived::new(), clean: None, looks: 0 };
        let mut asked = 0;
        for step in &script {
            judge.step(step);
            asked += u64::from(matches!(step, Step::Fault(_) | Step::Cordon | Step::Uncordon));
        }
        let Judge { lived, looks, .. } = judge;
        // What was lived is what is replayed.
        let replayed = lived.events.iter().try_fold(Gpu::default(), |gpu, (_, event)| gpu.evolve(event));
        assert_eq!(replayed.unwrap(), lived.gpu);
        // Between two events that nobody asked for there is a time to settle, but where a GPU that was fine is not.
        let settle = policy.settle_ms / 1_000;
        let most = 3 + 4 * asked + 2 * looks / settle;
        assert!(lived.events.len() as u64 <= most, "{} events in {looks} looks", lived.events.len());
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn an_hour_of_flapping_makes_few_events() {
    for (there, gone) in [(1, 1), (5, 1), (9, 2), (11, 11), (30, 15), (59, 1)] {
        let mut judge = Judge { lived: Lived::new(), clean: None, looks: 0 };
        judge.step(&Step::Fine(1));
        while judge.looks < 3_600 {
            judge.step(&Step::Fine(there));
            judge.step(&Step::Lost(gone));
        }
        let events = judge.lived.events.len();
        assert!(events <= 120, "{events} events of a GPU that is there for {there} s and gone for {gone} s");
    }
}
