//! Civil time: what the clock on the wall says at a place.

use jiff::tz::TimeZone;
use purser_events::Timestamp;
use purser_events::pool::{LocalTime, Weekday};

/// What the clock on the wall shows in a zone of the IANA database; none if this host does not know the zone.
pub(crate) fn shown(zone: &str, at: Timestamp) -> Option<LocalTime> {
    let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).ok()? };
    let moment = jiff::Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone);
    let weekday = usize::try_from(moment.weekday().to_monday_zero_offset()).ok()?;
    let weekday = *Weekday::ALL.get(weekday)?;
    let (hour, minute) = (u16::try_from(moment.hour()).ok()?, u16::try_from(moment.minute()).ok()?);
    Some(LocalTime { weekday, minute: hour * 60 + minute, offset_s: moment.offset().seconds() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn utc_needs_no_database() {
        let shown = shown("UTC", at("2026-11-22T10:11:12Z")).unwrap();
        assert_eq!(shown, LocalTime { weekday: Weekday::Sun, minute: 611, offset_s: 0 });
    }

    #[test]
    fn a_zone_that_does_not_exist_is_not_known() {
        assert_eq!(shown("Nowhere/Atlantis", at("2026-01-01T00:00:00Z")), None);
        assert_eq!(shown("", at("2026-01-01T00:00:00Z")), None);
    }

    /// Where the wall's clock goes back an hour, the same minutes come twice.
    #[test]
    fn the_wall_says_what_it_says_around_a_change() {
        if TimeZone::get("Europe/Berlin").is_err() {
            return;
        }
        let before = shown("Europe/Berlin", at("2026-10-25T00:30:00Z")).unwrap();
        let after = shown("Europe/Berlin", at("2026-10-25T01:30:00Z")).unwrap();
        assert_eq!((before.minute, before.offset_s), (150, 7_200));
        assert_eq!((after.minute, after.offset_s), (150, 3_600));
    }
}
