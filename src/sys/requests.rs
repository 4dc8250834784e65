//! The requests of all disks, as the kernel counts them: also those of its own threads, and of programs that run beside us.
//!
//! Reference: Documentation/admin-guide/iostats.rst.

use std::fs;

/// The requests up to now.
#[derive(PartialEq, Eq, Debug)]
pub struct Requests {
    /// Reads, writes, discards and flushes that came to their end.
    pub completed: u64,
    /// The devices that have not answered a request, each with a blank in front.
    pub unanswered: String,
}

impl Requests {
    /// The requests of all devices. A kernel that does not count them has none.
    pub fn now() -> Self {
        Self::of(&fs::read_to_string("/proc/diskstats").unwrap_or_default())
    }

    fn of(diskstats: &str) -> Self {
        let mut requests = Self { completed: 0, unanswered: String::new() };
        for line in diskstats.lines() {
            for (column, field) in line.split_ascii_whitespace().enumerate() {
                match (column, field.parse::<u64>()) {
                    (3 | 7 | 14 | 18, Ok(completed)) => {
                        requests.completed = requests.completed.wrapping_add(completed);
                    }
                    (11, Ok(1..)) => {
                        requests.unanswered.push(' ');
                        requests.unanswered += line.split_ascii_whitespace().nth(2).unwrap_or_default();
                    }
                    _ => {}
                }
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Linux 6.12, of 4.19 (no flushes) and of 4.9 (neither discards).
    #[test]
    fn requests_are_counted() {
        let diskstats = " 254       0 vda 1510 12 98765 432 20 3 4096 55 1 900 1000 7 0 8 9 5 44\n \
                          254       1 vda1 10 0 98765 432 0 0 0 0 2 900 1000 1 0 8 9\n   \
                            8       0 sda 100 0 4096 55 200 0 4096 55 0 1 2\nno line\n";
        let expected =
            Requests { completed: 1510 + 20 + 7 + 5 + 10 + 1 + 100 + 200, unanswered: " vda vda1".into() };
        assert_eq!(Requests::of(diskstats), expected);
        assert_eq!(Requests::of(""), Requests { completed: 0, unanswered: String::new() });
    }
}
