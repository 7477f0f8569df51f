//! Times of day and days of the week, as freeze windows have them.

use super::super::error::FieldErrors;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// The minute of the day that `HH:MM` names; none if it is no time of day. `24:00` is the end of the day.
pub(super) fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| -> Option<u16> {
        let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

/// `HH:MM` of a minute of the day.
pub(super) fn shown(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Both ends of a window, from the first minute in it to the first behind it. An end before the beginning is of the next
/// day; whole days have neither.
pub(super) fn ends(from: &str, to: &str, path: &str, errors: &mut FieldErrors) -> Option<(u16, u16)> {
    let mut read = |text: &str, name: &str| {
        let found = minute(text);
        if found.is_none() {
            let message = if text.is_empty() { "is required: a time of day as 22:00" } else { WRONG };
            errors.add(&format!("{path}.{name}"), message);
        }
        found
    };
    let (from_minute, to_minute) = (read(from, "from"), read(to, "to"));
    let (from_minute, to_minute) = (from_minute?, to_minute?);
    if from_minute == DAY_MINUTES {
        errors
            .add(&format!("{path}.from"), "must be before 24:00: a window from midnight on begins at 00:00");
        return None;
    }
    if from_minute == to_minute {
        let message = "must differ from `from`: the window would be empty; a whole day is 00:00 to 24:00";
        errors.add(&format!("{path}.to"), message);
        return None;
    }
    Some((from_minute, to_minute))
}

const WRONG: &str = "must be a time of day as 22:00, from 00:00 to 24:00; put it in quotes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_back_as_they_were_shown() {
        for at in 0..=DAY_MINUTES {
            assert_eq!(minute(&shown(at)), Some(at));
        }
        for text in
            ["", ":", "24:01", "23:60", "7:00", "07:0", "07:00:00", "+7:00", "0x:00", "٠٧:00", "99:99"]
        {
            assert_eq!(minute(text), None, "{text}");
        }
    }

    #[test]
    fn a_window_has_two_ends_that_differ() {
        let read = |from, to| {
            let mut errors = FieldErrors::default();
            let ends = ends(from, to, "w", &mut errors);
            errors.into_result(ends).map_err(|error| error.to_string())
        };
        assert_eq!(read("22:00", "06:00"), Ok(Some((1_320, 360))));
        assert_eq!(read("00:00", "24:00"), Ok(Some((0, 1_440))));
        assert!(read("06:00", "06:00").unwrap_err().starts_with("w.to: must differ"));
        assert!(read("24:00", "06:00").unwrap_err().starts_with("w.from: must be before"));
        let both = read("", "25:00").unwrap_err();
        assert!(both.contains("w.from: is required") && both.contains("w.to: must be a time"), "{both}");
    }
}
