//! What is asked for against what is used: of processor time the 95th percentile of the windows' maxima, of memory the
//! most that was seen and a little more, and of disk likewise. For each pod, and for the pods of a pool together.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{
    Advice, Certainty, Finding, Looked, SizingBasis, SizingFigures, Subject, Sureness, about, count,
};
use super::statistics::{percent_of, percentile};
use super::windows::Window;
use super::{Known, Pasts, PodFacts};
use crate::ledger::resource::ResourceKind;

/// Fewest windows of a pod.
const WINDOWS_MIN: usize = 24;

/// The percentile of the windows' maxima of processor time.
const PERCENTILE: usize = 95;

/// What is added to the most memory or disk that was seen, in percent.
const HEADROOM_PERCENT: u32 = 15;

/// How much of what is asked for the difference must be more than, in percent.
const RELATIVE_PERCENT: u32 = 20;

/// Windows from which on the advice is fairly sure, and from which on it is as sure as it can be: a day and a week of 5
/// minutes each.
const SURE_FROM: (u32, u32) = (288, 2_016);

/// How a resource is sized.
struct Rule {
    kind: ResourceKind,
    basis: SizingBasis,
    headroom_percent: u32,
    /// Suggestions are multiples of this.
    step: u64,
    /// What the difference must be more than, for each pod.
    absolute: u64,
}

const RULES: [Rule; 5] = [
    Rule {
        kind: ResourceKind::Cpu,
        basis: SizingBasis::Percentile95OfMaxima,
        headroom_percent: 0,
        step: 10,
        absolute: 50,
    },
    Rule {
        kind: ResourceKind::Memory,
        basis: SizingBasis::Maximum,
        headroom_percent: HEADROOM_PERCENT,
        step: 1 << 20,
        absolute: 32 << 20,
    },
    Rule {
        kind: ResourceKind::Disk,
        basis: SizingBasis::Maximum,
        headroom_percent: HEADROOM_PERCENT,
        step: 1 << 20,
        absolute: 256 << 20,
    },
    Rule {
        kind: ResourceKind::GpuShare,
        basis: SizingBasis::Percentile95OfMaxima,
        headroom_percent: 0,
        step: 1,
        absolute: 5,
    },
    Rule {
        kind: ResourceKind::GpuMemory,
        basis: SizingBasis::Maximum,
        headroom_percent: HEADROOM_PERCENT,
        step: 1 << 20,
        absolute: 256 << 20,
    },
];

/// Whose use of what is predicted to reach a bound: nobody is told to ask for less of that.
pub(super) type Rising = BTreeSet<(Subject, ResourceKind)>;

/// What a pod should ask for instead.
pub(super) fn of_pod(pod: &Known<'_>, rising: &Rising) -> Vec<Advice> {
    if pod.past.windows.len() < WINDOWS_MIN {
        return Vec::new();
    }
    let group = Group { subject: Subject::Pod(pod.facts.pod), pods: vec![*pod], left_out: 0 };
    group.advice(rising)
}

/// What every pod of a pool should ask for instead; for pools of which at least two pods have enough windows.
pub(super) fn of_pools(facts: &[PodFacts], pasts: &Pasts, rising: &Rising) -> Vec<Advice> {
    let mut pools = BTreeMap::<&str, Vec<&PodFacts>>::new();
    for facts in facts {
        if let Some(pool) = &facts.pool {
            pools.entry(pool).or_default().push(facts);
        }
    }
    let groups = pools.into_iter().map(|(pool, members)| {
        let known = members.iter().filter_map(|facts| {
            let past = pasts.get(&facts.pod).filter(|past| past.windows.len() >= WINDOWS_MIN)?;
            Some(Known { facts, past })
        });
        let pods: Vec<Known<'_>> = known.collect();
        let left_out = members.len() - pods.len();
        Group { subject: Subject::Pool(pool.to_owned()), pods, left_out: count(left_out) }
    });
    groups.filter(|group| group.pods.len() > 1).flat_map(|group| group.advice(rising)).collect()
}

/// Pods that are to ask for the same, each with enough windows.
struct Group<'a> {
    subject: Subject,
    pods: Vec<Known<'a>>,
    left_out: u32,
}

impl Group<'_> {
    fn advice(&self, rising: &Rising) -> Vec<Advice> {
        // Of GPUs there are windows that say nothing.
        let knows = |rule: &&Rule| {
            let mut pods = self.pods.iter();
            pods.all(|pod| pod.facts.has(&rule.kind) && pod.past.knowing(&rule.kind).len() >= WINDOWS_MIN)
        };
        RULES.iter().filter(knows).filter_map(|rule| self.sized(rule, rising)).collect()
    }

    fn sized(&self, rule: &Rule, rising: &Rising) -> Option<Advice> {
        let figures = self.figures(rule)?;
        let differs = figures.suggested.abs_diff(figures.requested) > figures.threshold;
        if !differs || (figures.suggested < figures.requested && self.rises(&rule.kind, rising)) {
            return None;
        }
        let looked = self.looked(&rule.kind)?;
        Some(Advice {
            subject: self.subject.clone(),
            resource: rule.kind.clone(),
            sentence: sentence(&figures, &rule.kind),
            certainty: certainty(&figures, &looked, &rule.kind),
            looked,
            finding: Finding::RightSizing(figures),
        })
    }

    fn rises(&self, kind: &ResourceKind, rising: &Rising) -> bool {
        self.pods.iter().any(|pod| rising.contains(&(Subject::Pod(pod.facts.pod), kind.clone())))
    }

    fn figures(&self, rule: &Rule) -> Option<SizingFigures> {
        let knows = |window: &&Window| window.knows(&rule.kind);
        let windows = || self.pods.iter().flat_map(|pod| &pod.past.windows).filter(knows);
        let mut maxima: Vec<u64> = windows().map(|window| window.most(&rule.kind)).collect();
        let most = percentile(&mut maxima, 100)?;
        let measured = match rule.basis {
            SizingBasis::Percentile95OfMaxima => percentile(&mut maxima, PERCENTILE)?,
            SizingBasis::Maximum => most,
        };
        let mean_most = windows().map(|window: &Window| window.level(&rule.kind)).max()?;
        let wanted = percent_of(measured, 100 + rule.headroom_percent).max(mean_most).max(1);
        let suggested_each = wanted.div_ceil(rule.step).saturating_mul(rule.step);
        let pods = count(self.pods.len());
        let asked = self.pods.iter().map(|pod| pod.facts.requested(&rule.kind));
        let requested = asked.fold(0, u64::saturating_add);
        let absolute = rule.absolute.saturating_mul(u64::from(pods));
        Some(SizingFigures {
            requested,
            suggested: suggested_each.saturating_mul(u64::from(pods)),
            suggested_each,
            limit: self.pods.iter().filter_map(|pod| pod.facts.limit(&rule.kind)).min(),
            pods,
            pods_left_out: self.left_out,
            basis: rule.basis,
            measured,
            headroom_percent: rule.headroom_percent,
            mean_most,
            most,
            step: rule.step,
            threshold: percent_of(requested, RELATIVE_PERCENT).max(absolute),
        })
    }

    fn looked(&self, kind: &ResourceKind) -> Option<Looked> {
        let each = self.pods.iter().filter_map(|pod| pod.past.looked(&pod.past.knowing(kind)));
        each.reduce(|sum, next| Looked {
            windows: sum.windows.saturating_add(next.windows),
            left_out: sum.left_out.saturating_add(next.left_out),
            from: sum.from.min(next.from),
            to: sum.to.max(next.to),
        })
    }
}

fn sentence(figures: &SizingFigures, kind: &ResourceKind) -> String {
    let measured = about(kind, figures.measured);
    let seen = match figures.basis {
        SizingBasis::Percentile95OfMaxima if figures.measured < figures.mean_most => {
            format!("a window had a mean of {}", about(kind, figures.mean_most))
        }
        SizingBasis::Percentile95OfMaxima => format!("95 % of the windows stayed at or below {measured}"),
        SizingBasis::Maximum => format!("the most that was seen is {measured}"),
    };
    let requested = kind.show(figures.requested);
    let asks = match (figures.pods, figures.requested) {
        (1, 0) => format!("asks for no {kind}"),
        (1, _) => format!("asks for {requested} of {kind}"),
        (pods, _) => format!("its {pods} pods together ask for {requested} of {kind}"),
    };
    let word = if figures.suggested < figures.requested { "would do" } else { "is closer to its use" };
    let suggested = kind.show(figures.suggested_each);
    let each = if figures.pods == 1 { "" } else { " for each" };
    let raise = match figures.limit {
        Some(limit) if limit < figures.suggested_each => {
            format!("; its limit of {} is less than that", kind.show(limit))
        }
        Some(_) | None => String::new(),
    };
    format!("{asks}; {seen}, so {suggested}{each} {word}{raise}")
}

fn certainty(figures: &SizingFigures, looked: &Looked, kind: &ResourceKind) -> Certainty {
    let windows = looked.windows / figures.pods.max(1);
    let mut why = format!("{windows} windows");
    if figures.pods > 1 {
        why.push_str(" of each pod on average");
    }
    if figures.pods_left_out > 0 {
        why.push_str(&format!("; pods left out that ran too short a time: {}", figures.pods_left_out));
    }
    why.push_str(match kind {
        ResourceKind::Cpu => "; whether it was held back by a limit is not known",
        ResourceKind::Memory => "; whether it was ever killed for lack of memory is not known",
        ResourceKind::GpuShare => "; whether it had to wait for others is not known",
        ResourceKind::GpuMemory => "; what its programs only keep for later counts as used",
        _ => "; what still grows will outgrow it",
    });
    Certainty { sureness: Sureness::of_count(windows, SURE_FROM.0, SURE_FROM.1), why }
}
