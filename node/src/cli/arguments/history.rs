//! The command line of the verbs that ask projections.

use std::time::Duration;

use clap::{Args, Subcommand};
use purser_events::Timestamp;

use super::{Output, duration};

/// `purser history`.
#[derive(Debug, Args)]
pub struct History {
    /// Only pods of this name: NAME, NAMESPACE/NAME or pod/NAME
    pub name: Option<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only pods that were admitted on behalf of this principal, as in uid:0 or token:ci
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// Only pods that had not ended before: a time as in 2026-01-31T12:00:00Z, or so long ago, as in 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub since: Option<Moment>,
    /// Only pods that had been admitted by then, written as for --since
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub until: Option<Moment>,
    /// How many, the newest first; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
    /// Go on where the answer before went no further
    #[arg(long = "continue", value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A moment on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// By the calendar.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    pub(super) fn parse(text: &str) -> Result<Moment, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
        if let Some(days) = days.filter(|days| *days <= 36_500) {
            return Ok(Moment::Ago(Duration::from_secs(days * 86_400)));
        }
        match text.parse::<Timestamp>() {
            Ok(at) => Ok(Moment::At(at)),
            Err(_) => duration(text)
                .map(Moment::Ago)
                .map_err(|_| "must be a time as in 2026-01-31T12:00:00Z, or as 90m, 24h or 7d".to_owned()),
        }
    }

    /// The moment, by a clock that says what time it is now.
    #[must_use]
    pub fn by(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(at) => at,
            Moment::Ago(ago) => {
                Timestamp(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)))
            }
        }
    }
}

/// `purser projections`.
#[derive(Debug, Args)]
pub struct Projections {
    /// What to do; lists them if absent
    #[command(subcommand)]
    pub verb: Option<ProjectionsVerb>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
}

/// What to do with a projection.
#[derive(Debug, Subcommand)]
pub enum ProjectionsVerb {
    /// Has its rows built again from the journal, beside those that answer until the new ones can
    Rebuild {
        /// Which projection
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_long_ago() {
        let noon = Timestamp(1_772_368_245_000_000);
        let by = |text: &str| Moment::parse(text).map(|moment| noon.ms_since(moment.by(noon)));
        assert_eq!(by("90m"), Ok(90 * 60_000));
        assert_eq!(by("7d"), Ok(7 * 86_400_000));
        assert_eq!(by(&noon.to_string()), Ok(0));
        for text in ["", "d", "-1d", "yesterday", "9999999d", "2026-01-31"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }
}
