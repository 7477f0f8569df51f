//! The queues: who goes first, who is refused, and what becomes of those who wait.

use tokio::sync::oneshot;

use super::*;
use crate::gathering::GROUP_BYTES_MAX;
use crate::request::Prepared;
use crate::terms::Terms;

const WAIT_MAX: Duration = Duration::from_micros(500);

/// A request that is told from others by its bytes.
fn request(class: Class, bytes: usize) -> Request {
    let append = Prepared { payloads: vec![0; bytes], ..Prepared::empty(Terms::sync(class)) };
    Request { append, reply: oneshot::channel().0 }
}

fn taken(queue: &Queue) -> Vec<(Class, usize)> {
    match queue.take(None) {
        Next::Group(group) => {
            group.iter().map(|request| (request.append.terms.class, request.append.payloads.len())).collect()
        }
        Next::Due | Next::Ended => Vec::new(),
    }
}

#[test]
fn the_most_important_goes_first_and_order_within_a_class_is_kept() {
    let queue = Queue::new(8, WAIT_MAX);
    for (number, class) in
        [Class::Observation, Class::Lifecycle, Class::Safety].into_iter().cycle().take(9).enumerate()
    {
        queue.push(request(class, number)).unwrap();
    }
    let expected = [
        (Class::Safety, 2),
        (Class::Safety, 5),
        (Class::Safety, 8),
        (Class::Lifecycle, 1),
        (Class::Lifecycle, 4),
        (Class::Lifecycle, 7),
        (Class::Observation, 0),
        (Class::Observation, 3),
        (Class::Observation, 6),
    ];
    assert_eq!(taken(&queue), expected);
}

#[test]
fn a_class_is_refused_for_its_own_length_alone() {
    let queue = Queue::new(2, WAIT_MAX);
    for class in [Class::Observation, Class::Lifecycle] {
        queue.push(request(class, 1)).unwrap();
        queue.push(request(class, 1)).unwrap();
        let refused = queue.push(request(class, 1)).unwrap_err();
        assert!(matches!(refused, AppendError::Busy { class: told, .. } if told == class), "{refused:?}");
    }
    queue.push(request(Class::Safety, 1)).unwrap();
    let (lens, refused) = (queue.lens(), queue.refused());
    assert_eq!((lens.safety, lens.lifecycle, lens.observation), (1, 2, 2));
    assert_eq!((refused.safety, refused.lifecycle, refused.observation), (0, 1, 1));
}

#[test]
fn the_hint_grows_with_what_is_served_before() {
    let queue = Queue::new(4 * GROUP_LEN_MAX, WAIT_MAX);
    let hint = |class| queue.lock().retry_after_ms(class);
    queue.note_served(Duration::from_millis(20));
    assert_eq!(hint(Class::Observation), 10);
    for _ in 0..3 * GROUP_LEN_MAX {
        queue.push(request(Class::Lifecycle, 1)).unwrap();
    }
    assert_eq!((hint(Class::Safety), hint(Class::Lifecycle), hint(Class::Observation)), (10, 60, 60));
    queue.note_served(Duration::from_secs(60));
    assert_eq!(hint(Class::Observation), 1_000);
}

#[test]
fn a_group_is_bounded_in_number_and_in_bytes() {
    let queue = Queue::new(1_024, WAIT_MAX);
    for _ in 0..GROUP_LEN_MAX + 1 {
        queue.push(request(Class::Lifecycle, 1)).unwrap();
    }
    assert_eq!((taken(&queue).len(), taken(&queue).len()), (GROUP_LEN_MAX, 1));
    for _ in 0..3 {
        queue.push(request(Class::Lifecycle, GROUP_BYTES_MAX / 2)).unwrap();
    }
    assert_eq!((taken(&queue).len(), taken(&queue).len()), (2, 1));
}

#[test]
fn what_is_due_goes_before_what_waits() {
    let queue = Queue::new(1, WAIT_MAX);
    queue.push(request(Class::Safety, 1)).unwrap();
    assert!(matches!(queue.take(Some(Instant::now())), Next::Due));
    assert_eq!(taken(&queue), [(Class::Safety, 1)]);
    assert!(matches!(queue.take(Some(Instant::now() + Duration::from_millis(1))), Next::Due));
}

#[test]
fn what_waits_at_the_close_is_served_and_nothing_more_is_taken() {
    let queue = Queue::new(2, WAIT_MAX);
    queue.push(request(Class::Safety, 1)).unwrap();
    queue.close();
    assert_eq!(queue.push(request(Class::Safety, 2)).unwrap_err(), AppendError::Closed);
    assert_eq!(taken(&queue), [(Class::Safety, 1)]);
    assert!(matches!(queue.take(None), Next::Ended));
    drop(Serving(&queue));
    assert_eq!(queue.push(request(Class::Safety, 2)).unwrap_err(), AppendError::Closed);
}

#[test]
fn nobody_waits_for_a_thread_that_is_gone() {
    let queue = Queue::new(2, WAIT_MAX);
    let (reply, mut answer) = oneshot::channel();
    queue.push(Request { reply, ..request(Class::Safety, 1) }).unwrap();
    drop(Serving(&queue));
    assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert_eq!(queue.push(request(Class::Safety, 2)).unwrap_err(), AppendError::Fenced);
}
