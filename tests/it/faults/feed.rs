//! A reader of the event feed that reads nothing while thousands of events are made: it holds nobody up, and gets
//! every one of them in order once it reads on.

use std::io::{BufReader, Write};

use purser_tests::feed::Feed;
use purser_tests::purserd::{Purserd, Setup};

use super::client::{ask, connect, get};
use super::overload::with_api_keys;

/// Events that are made while nobody reads: several times of what fits between the two ends of a connection.
const EVENTS: u64 = 3_000;

/// Makes this many events, each of which is acknowledged.
fn make(purserd: &Purserd, events: u64) {
    let stream = connect(purserd);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    for number in 0..events {
        let (verb, body) = if number % 2 == 0 {
            ("cordon", format!("{{\"reason\":\"{number} {}\"}}", "x".repeat(200)))
        } else {
            ("uncordon", String::new())
        };
        let head =
            format!("POST /v1/node/{verb} HTTP/1.1\r\nHost: purser\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let answer = super::client::read_answer(&mut answers);
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
}

fn service() -> Purserd {
    let keys = "requests-per-second = 1000000\nrequests-burst = 1000000\n";
    with_api_keys(Purserd::start(&Setup::default()), keys)
}

fn head(purserd: &Purserd) -> u64 {
    get(purserd, "/v1/status")["seq"].as_u64().unwrap()
}

/// Reads up to `last` and sees that nothing is missing, doubled or out of order.
#[track_caller]
fn assert_seqs(feed: &mut Feed, first: u64, last: u64) {
    for expected in first..=last {
        assert_eq!(feed.next_event().seq, expected);
    }
}

#[test]
fn a_reader_that_sleeps_holds_nobody_up_and_misses_nothing() {
    let purserd = service();
    let mut asleep = Feed::from(&purserd, 1);
    // Would not return if the writer waited for the reader.
    make(&purserd, EVENTS);
    let last = head(&purserd);
    assert!(EVENTS <= last, "{last}");
    assert_seqs(&mut asleep, 1, last);
    make(&purserd, 2);
    assert_seqs(&mut asleep, last + 1, last + 2);
}

#[test]
fn a_subscription_from_an_old_record_goes_on_live_without_a_gap() {
    let purserd = service();
    make(&purserd, 500);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| make(&purserd, 1_000));
        let mut feeds: Vec<(u64, Feed)> =
            [1, 100, 400].map(|from| (from, Feed::from(&purserd, from))).into_iter().collect();
        writer.join().unwrap();
        let last = head(&purserd);
        for (from, feed) in &mut feeds {
            assert_seqs(feed, *from, last);
        }
    });
}

#[test]
fn a_reader_that_was_cut_off_goes_on_where_it_was() {
    let mut purserd = service();
    make(&purserd, 100);
    let mut feed = Feed::from(&purserd, 1);
    let received = (0..40).map(|_| feed.next_event().seq).last().unwrap();
    drop(feed);
    purserd.kill9();
    purserd.restart();
    let line = format!("GET /v1/events?from=1 HTTP/1.1\r\nLast-Event-ID: {received}\r\n");
    let mut stream = connect(&purserd);
    stream.write_all(format!("{line}Host: purser\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let headers = purser_tests::http::read_head(&mut answer).unwrap();
    let text = String::from_utf8(purser_tests::http::read_body(&mut answer, &headers).unwrap()).unwrap();
    let ids: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids[0], received + 1);
    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]) && ids.len() >= 60, "{ids:?}");
    for wrong in ["x", "-1", "18446744073709551615", ""] {
        let refused = ask(&purserd, &format!("GET /v1/events HTTP/1.1\r\nLast-Event-ID: {wrong}\r\n"), b"");
        super::client::assert_problem(&refused, 400, "malformed-header", wrong);
    }
}
