//! Times as FAT writes them: two seconds are the least, and the years are 1980 to 2107. FAT specification, "Date and Time
//! Formats". Days and years come by Howard Hinnant's "chrono-compatible low-level date algorithms".

/// The first second of 1980, and the first one after 2107.
const FIRST: u64 = 315_532_800;
const END: u64 = 4_354_819_200;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;

/// Time and date of a second since 1970, in universal time. A time that FAT cannot express becomes the start of 1980.
pub(super) fn dos(seconds: u64) -> (u64, u64) {
    let seconds = if (FIRST..END).contains(&seconds) { seconds } else { FIRST };
    let (days, second) = (seconds / 86400 + EPOCH_DAYS, seconds % 86400);
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on, so that the leap day is the last one of a year.
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    (time, ((year - 1980) << 9) | (month << 5) | day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: [u64; 3], time: [u64; 3]) -> (u64, u64) {
        let [hour, minute, second] = time;
        let [year, month, day] = date;
        ((hour << 11) | (minute << 5) | (second / 2), ((year - 1980) << 9) | (month << 5) | day)
    }

    /// Expected values: `date --utc --date @SECONDS`.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, at([1980, 1, 1], [0, 0, 0])),
            (FIRST, at([1980, 1, 1], [0, 0, 0])),
            (951_782_400, at([2000, 2, 29], [0, 0, 0])),
            (1_426_325_213, at([2015, 3, 14], [9, 26, 53])),
            (1_767_225_599, at([2025, 12, 31], [23, 59, 59])),
            (4_107_542_400, at([2100, 3, 1], [0, 0, 0])),
            (END - 1, at([2107, 12, 31], [23, 59, 59])),
            (END, at([1980, 1, 1], [0, 0, 0])),
            (u64::MAX, at([1980, 1, 1], [0, 0, 0])),
        ] {
            assert_eq!(dos(seconds), expected, "{seconds}");
        }
    }
}
