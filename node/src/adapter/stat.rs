//! What the kernel's files about one process say.

/// Field 22 of `/proc/<pid>/stat`. The second field is the program's name and may hold spaces and brackets.
#[must_use]
pub fn start_time_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The process' id in the innermost namespace that it is in, from `/proc/<pid>/status`.
#[must_use]
pub fn innermost_pid(status: &str) -> Option<u32> {
    ids(status)?.last()?.parse().ok()
}

/// The same, if that is not the namespace of whoever reads.
#[must_use]
pub fn inner_pid(status: &str) -> Option<u32> {
    ids(status)?.skip(1).last()?.parse().ok()
}

fn ids(status: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_call_itself_anything() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("42 (a) R 1 (b)) {}", fields.join(" "));
        assert_eq!(start_time_ticks(&stat), Some(22));
    }

    #[test]
    fn the_innermost_namespace_names_the_container_pid() {
        let inside = "Name:\tsh\nNSpid:\t28007\t1\n";
        assert_eq!((innermost_pid(inside), inner_pid(inside)), (Some(1), Some(1)));
        let outside = "Name:\tsh\nNSpid:\t28007\n";
        assert_eq!((innermost_pid(outside), inner_pid(outside)), (Some(28_007), None));
        assert_eq!(innermost_pid("Name:\tsh\n"), None);
    }
}
