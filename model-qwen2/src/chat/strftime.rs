//! The function `strftime_now`: dates as Python writes them.
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

/// Seconds since 1970, now.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs() as i64)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Python's `strftime` for a time in UTC, in English; an error for a directive that is not one of `%a A b B d e H I j m M p S y
/// Y F T Z z %` and their `%-d` forms.
pub(super) fn strftime(format: &str, unix_seconds: i64) -> Result<String, Error> {
    let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = (days + 4).rem_euclid(7) as usize;
    let day_of_year = days - days_from_civil(year, 1, 1) + 1;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        let (number, width) = match directive {
            Some('d') => (day, 2),
            Some('H') => (hour, 2),
            Some('I') => ((hour + 11) % 12 + 1, 2),
            Some('j') => (day_of_year, 3),
            Some('m') => (month, 2),
            Some('M') => (minute, 2),
            Some('S') => (second, 2),
            Some('y') => (year.rem_euclid(100), 2),
            Some('Y') => (year, 1),
            other => {
                match other {
                    Some('a') => out.push_str(&DAYS[weekday][..3]),
                    Some('A') => out.push_str(DAYS[weekday]),
                    Some('b') => out.push_str(&month_name[..3]),
                    Some('B') => out.push_str(month_name),
                    Some('e') => out.push_str(&format!("{day:2}")),
                    Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                    Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
                    Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
                    Some('Z' | 'z') => {}
                    Some('%') => out.push('%'),
                    _ => {
                        let message = format!("strftime_now: {format:?} has a directive that is not supported");
                        return Err(Error::new(ErrorKind::InvalidOperation, message));
                    }
                }
                continue;
            }
        };
        out.push_str(&format!("{number:0w$}", w = if unpadded { 1 } else { width }));
    }
    Ok(out)
}

/// Days since 1970-01-01 of a date; the year begins in March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date (year, month, day) of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|&m| days_from_civil(year, m, 1) <= days)
        .unwrap_or(1);
    (year, month, days - days_from_civil(year, month, 1) + 1)
}
