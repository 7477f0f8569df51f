//! What the agent has, and what follows for it from what it is told: no I/O and no time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use super::protocol::{Assignment, Beat, Cancel, Grip, Held, Order, Orders, Phase, SLOTS_MAX};

/// Assignments that have ended and are remembered: an answer that was on its way meanwhile may still name them.
const ENDED_MAX: usize = 4 * SLOTS_MAX;

/// Something that the agent is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Run this; it is in the book.
    Begin(Assignment),
    /// End this, and report how it ended.
    Cancel(Cancel),
    /// End this, and say no more of it.
    Drop(Grip),
    /// Remove the folder of a task.
    Forget(Uuid),
}

/// The assignments that the agent has, and the tasks whose folder it keeps.
#[derive(Debug, Default)]
pub(super) struct Book {
    slots: u8,
    has: BTreeMap<Grip, u8>,
    keeps: BTreeSet<Uuid>,
    ended: VecDeque<Grip>,
    /// In force, and not begun for want of a slot.
    waiting: Vec<Assignment>,
    /// Takes nothing new.
    leaving: bool,
}

impl Book {
    /// The book of an agent that finds these on its disk.
    pub(super) fn new(has: &[Held], keeps: &[Uuid]) -> Book {
        let has = has.iter().map(|held| (Grip { task: held.task, token: held.token }, held.slot)).collect();
        Book { has, keeps: keeps.iter().copied().collect(), ..Book::default() }
    }

    /// Says how many slots the member has.
    pub(super) fn set_slots(&mut self, slots: u8) {
        self.slots = slots;
    }

    /// From now on nothing new is taken.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.waiting.clear();
    }

    /// Whether nothing new is taken.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// What the agent has, by task.
    pub(super) fn has(&self) -> Vec<Held> {
        self.has.iter().map(|(grip, slot)| Held { task: grip.task, token: grip.token, slot: *slot }).collect()
    }

    /// The tasks whose folder is kept.
    pub(super) fn keeps(&self) -> Vec<Uuid> {
        self.keeps.iter().copied().collect()
    }

    /// Takes orders: all that are in force.
    pub(super) fn order(&mut self, orders: Orders) -> Vec<Step> {
        self.waiting.clear();
        let mut steps = Vec::new();
        for order in orders.orders {
            match order {
                Order::Assign(assignment) => self.waiting.push(assignment),
                Order::Cancel(cancel) if self.has.contains_key(&grip_of(&cancel)) => {
                    steps.push(Step::Cancel(cancel));
                }
                Order::Cancel(_) => {}
                Order::Drain {} => self.leaving = true,
            }
        }
        steps.extend(self.begin());
        steps
    }

    /// Takes what a heartbeat or a connection was answered.
    pub(super) fn beat(&mut self, beat: &Beat) -> Vec<Step> {
        let dropped =
            beat.drop.iter().filter(|grip| self.has.contains_key(grip)).map(|grip| Step::Drop(*grip));
        let dropped: Vec<Step> = dropped.collect();
        let forgotten = beat.forget.iter().filter(|task| self.keeps.remove(task));
        dropped.into_iter().chain(forgotten.map(|task| Step::Forget(*task))).collect()
    }

    /// Keeps a task's folder for its apply.
    pub(super) fn keep(&mut self, task: Uuid) {
        self.keeps.insert(task);
    }

    /// Says that nothing is left to do for an assignment; whether the task's folder is kept.
    pub(super) fn end(&mut self, grip: Grip, keep: bool) -> Vec<Step> {
        self.has.remove(&grip);
        if keep {
            self.keep(grip.task);
        }
        self.ended.push_back(grip);
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
        self.begin()
    }

    /// Takes those that wait and whose slot is free.
    fn begin(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for assignment in std::mem::take(&mut self.waiting) {
            let grip = Grip { task: assignment.task, token: assignment.token };
            if self.leaving || self.has.contains_key(&grip) || self.ended.contains(&grip) {
                continue;
            }
            let taken = self.has.values().any(|slot| *slot == assignment.slot);
            // What ran before under the task's id must be gone as well: both have the same folder.
            let before = self.has.keys().any(|held| held.task == assignment.task);
            if taken || before || assignment.slot >= self.slots {
                self.waiting.push(assignment);
                continue;
            }
            self.has.insert(grip, assignment.slot);
            if assignment.phase == Phase::Apply {
                self.keeps.remove(&assignment.task);
            }
            steps.push(Step::Begin(assignment));
        }
        steps
    }
}

fn grip_of(cancel: &Cancel) -> Grip {
    Grip { task: cancel.task, token: cancel.token }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Kind;
    use super::*;

    fn grip(task: u128, token: u64) -> Grip {
        Grip { task: Uuid::from_u128(task), token }
    }

    fn assignment(task: u128, token: u64, slot: u8) -> Assignment {
        Assignment {
            task: Uuid::from_u128(task),
            token,
            slot,
            phase: Phase::Only,
            kind: Kind::Work,
            workspace: None,
            argv: vec!["true".into()],
            env: BTreeMap::new(),
            working_dir: None,
            timeout_s: None,
            grace_s: 1,
            attempt: 1,
        }
    }

    fn orders(assignments: &[Assignment]) -> Orders {
        Orders { orders: assignments.iter().cloned().map(Order::Assign).collect(), seen: 1 }
    }

    fn book(slots: u8) -> Book {
        let mut book = Book::default();
        book.set_slots(slots);
        book
    }

    #[test]
    fn what_is_ordered_again_is_begun_once() {
        let (mut book, first) = (book(2), assignment(1, 1, 0));
        assert_eq!(book.order(orders(std::slice::from_ref(&first))), [Step::Begin(first.clone())]);
        assert_eq!(book.order(orders(std::slice::from_ref(&first))), []);
        assert_eq!(book.end(grip(1, 1), false), []);
        // An answer that was on its way when the end was acknowledged.
        assert_eq!(book.order(orders(&[first])), []);
        assert_eq!(book.has(), []);
    }

    #[test]
    fn a_slot_takes_the_next_once_the_one_before_is_gone() {
        let (mut book, first, second) = (book(1), assignment(1, 1, 0), assignment(2, 2, 0));
        book.order(orders(&[first]));
        assert_eq!(book.order(orders(std::slice::from_ref(&second))), []);
        assert_eq!(book.end(grip(1, 1), false), [Step::Begin(second)]);
        assert_eq!(book.order(orders(&[assignment(3, 3, 1)])), [], "there is no such slot");
    }

    #[test]
    fn an_order_that_was_taken_back_is_not_begun_later() {
        let (mut book, first, second) = (book(1), assignment(1, 1, 0), assignment(2, 2, 0));
        book.order(orders(std::slice::from_ref(&first)));
        book.order(orders(&[first.clone(), second]));
        book.order(orders(&[first]));
        assert_eq!(book.end(grip(1, 1), false), []);
    }

    #[test]
    fn another_assignment_of_a_task_waits_for_the_one_before() {
        let (mut book, again) = (book(2), assignment(1, 2, 1));
        book.order(orders(&[assignment(1, 1, 0)]));
        assert_eq!(book.order(orders(std::slice::from_ref(&again))), []);
        assert_eq!(book.end(grip(1, 1), false), [Step::Begin(again)]);
    }

    #[test]
    fn only_what_it_has_is_cancelled_or_dropped() {
        let mut book = book(2);
        book.order(orders(&[assignment(1, 1, 0)]));
        let cancel =
            |task, token| Cancel { task: Uuid::from_u128(task), token, reason: String::new(), grace_s: 1 };
        let all = Orders { orders: vec![Order::Cancel(cancel(1, 1)), Order::Cancel(cancel(1, 2))], seen: 2 };
        assert_eq!(book.order(all), [Step::Cancel(cancel(1, 1))]);
        let beat = Beat { drop: vec![grip(1, 2), grip(1, 1)], forget: vec![Uuid::from_u128(1)] };
        assert_eq!(book.beat(&beat), [Step::Drop(grip(1, 1))]);
    }

    #[test]
    fn a_planned_task_keeps_its_folder_until_its_apply_or_until_it_is_forgotten() {
        let mut book = book(2);
        for task in [1, 2] {
            book.order(orders(&[assignment(task, 1, 0)]));
            book.end(grip(task, 1), true);
        }
        assert_eq!(book.keeps(), [Uuid::from_u128(1), Uuid::from_u128(2)]);
        let apply = Assignment { phase: Phase::Apply, ..assignment(1, 3, 0) };
        assert_eq!(book.order(orders(std::slice::from_ref(&apply))), [Step::Begin(apply)]);
        let beat = Beat { drop: vec![], forget: vec![Uuid::from_u128(1), Uuid::from_u128(2)] };
        assert_eq!(book.beat(&beat), [Step::Forget(Uuid::from_u128(2))], "the first is being applied");
        assert!(book.keeps().is_empty());
    }

    #[test]
    fn one_who_leaves_takes_nothing_new() {
        let mut book = book(1);
        book.order(orders(&[assignment(1, 1, 0), assignment(2, 2, 0)]));
        book.leave();
        assert_eq!(book.end(grip(1, 1), false), []);
        assert_eq!(book.order(orders(&[assignment(3, 3, 0)])), []);
        assert!(book.is_leaving());
    }
}
