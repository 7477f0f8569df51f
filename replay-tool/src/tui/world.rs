//! The world at a moment, as lines: pods, workers, GPUs, pools, what is given out and what is violated.

use crate::fold::Folded;
use crate::views;

/// Most lines of one part of the world.
const PART_LINES_MAX: usize = 1_000;

/// What was true after the last record that is folded in.
pub(super) fn lines(folded: &Folded) -> Vec<String> {
    let world = &folded.world;
    let mut lines = vec![format!("after record {}{}", world.head, folded.time_text())];
    lines.push(match world.node_uid {
        Some(uid) => format!("node {} {uid}", world.node.word()),
        None => "node never started".to_owned(),
    });
    part(&mut lines, "pods", views::pods(world));
    part(&mut lines, "workers", views::workers(world));
    part(&mut lines, "gpus", views::gpus(world));
    part(&mut lines, "slots", views::slots(world));
    part(&mut lines, "tasks that wait", views::tasks_that_wait(world));
    part(&mut lines, "given out", views::uses(world));
    part(&mut lines, "waiting", views::waiting(world));
    part(&mut lines, "violations", views::violations(world));
    part(&mut lines, "not folded", views::unfolded(world));
    lines
}

/// A part with its heading, which says how many there are.
fn part(lines: &mut Vec<String>, title: &str, of: Vec<String>) {
    lines.push(format!("{title} {}", of.len()));
    let more = of.len().saturating_sub(PART_LINES_MAX);
    lines.extend(of.into_iter().take(PART_LINES_MAX).map(|line| format!("  {line}")));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}
