//! Keeps in touch with the service: connects, beats, asks for orders, and begins anew when that breaks off, for ever.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Agent;
use super::back_off::BackOff;
use super::files::Session;
use super::protocol::{Beat, Connect, Connected, Heartbeat, PROTOCOL, WAIT_MS_MAX, code};
use super::service::Fault;

/// How long an answer to a request for orders may be held back: less than what ends idle connections on the way.
const WAIT: Duration = Duration::from_millis(25_000);

const _: () = assert!(WAIT.as_millis() <= WAIT_MS_MAX as u128);

/// Bounds of the time between two heartbeats, whatever the service says.
const HEARTBEAT: std::ops::RangeInclusive<u64> = 10..=60_000;

/// The least that a request for orders takes if it brings nothing new: a service that does not hold it back is not asked
/// all the time.
const POLL_MIN: Duration = Duration::from_millis(200);

/// Keeps in touch until another agent has taken this one's place.
pub(super) async fn keep(agent: Rc<Agent>) {
    let mut back_off = BackOff::default();
    loop {
        let heard = Cell::new(false);
        let fault = hold(&agent, &heard).await;
        agent.connected.send_replace(false);
        if fault.is(code::SESSION_REPLACED) {
            return;
        }
        if heard.get() {
            back_off.reset();
        }
        // Said once: a service may be away for hours.
        if back_off.is_fresh() {
            tracing::warn!(%fault, "not connected to the service; trying again until it answers");
        } else {
            tracing::debug!(%fault, "still not connected to the service");
        }
        sleep(back_off.next((agent.random)())).await;
    }
}

/// Connects and stays so until that breaks off; `heard` says whether orders came.
async fn hold(agent: &Rc<Agent>, heard: &Cell<bool>) -> Fault {
    let connected = match connect(agent).await {
        Ok(connected) => connected,
        Err(fault) => return fault,
    };
    tracing::info!(pool = connected.pool, member = connected.member, slots = connected.slots, "connected");
    let every = Duration::from_millis(connected.heartbeat_ms.clamp(*HEARTBEAT.start(), *HEARTBEAT.end()));
    tokio::select! {
        fault = beat(agent, every) => fault,
        fault = obey(agent, heard) => fault,
        // Somebody heard that the session is over: a heartbeat says whether it is, and in which way.
        fault = ask_in_doubt(agent) => fault,
    }
}

async fn connect(agent: &Rc<Agent>) -> Result<Connected, Fault> {
    let (has, keeps) = {
        let book = agent.book.borrow();
        (book.has(), book.keeps())
    };
    let connect = Connect {
        protocol: PROTOCOL,
        session: agent.session,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fresh: agent.fresh.get(),
        has,
        keeps,
    };
    let connected = agent.service.connect(&connect).await?;
    if agent.fresh.replace(false)
        && let Err(error) = agent.files.write_session(Session { id: agent.session, known: true })
    {
        tracing::warn!(%error, "the agent's session is not on file");
    }
    agent.book.borrow_mut().set_slots(connected.slots);
    take_beat(agent, &Beat { drop: connected.drop.clone(), forget: connected.forget.clone() });
    agent.connected.send_replace(true);
    Ok(connected)
}

/// Says now and then that the agent is there, and at once when there is news.
async fn beat(agent: &Rc<Agent>, every: Duration) -> Fault {
    loop {
        // That it is due early is all there is to know.
        let _ = timeout(every, agent.news.notified()).await;
        if let Err(fault) = beat_once(agent).await {
            return fault;
        }
    }
}

async fn beat_once(agent: &Rc<Agent>) -> Result<(), Fault> {
    let heartbeat = {
        let book = agent.book.borrow();
        Heartbeat { has: book.has(), keeps: book.keeps(), leaving: book.is_leaving() }
    };
    let answer = agent.service.heartbeat(&heartbeat).await?;
    take_beat(agent, &answer);
    Ok(())
}

async fn ask_in_doubt(agent: &Rc<Agent>) -> Fault {
    loop {
        agent.doubt.notified().await;
        if let Err(fault) = beat_once(agent).await {
            return fault;
        }
        agent.connected.send_replace(true);
    }
}

fn take_beat(agent: &Rc<Agent>, beat: &Beat) {
    let steps = agent.book.borrow_mut().beat(beat);
    agent.follow(steps);
}

/// Asks for orders and follows them.
async fn obey(agent: &Rc<Agent>, heard: &Cell<bool>) -> Fault {
    let mut seen = 0;
    loop {
        let asked = Instant::now();
        let orders = match agent.service.orders(WAIT, seen).await {
            Ok(orders) => orders,
            Err(fault) => return fault,
        };
        heard.set(true);
        let news = orders.seen != seen;
        seen = orders.seen;
        let leaving = agent.book.borrow().is_leaving();
        let steps = agent.book.borrow_mut().order(orders);
        agent.follow(steps);
        if !leaving && agent.book.borrow().is_leaving() {
            tracing::info!("the member is to be removed: nothing new is taken");
            agent.news.notify_one();
        }
        if !news {
            sleep(POLL_MIN.saturating_sub(asked.elapsed())).await;
        }
    }
}
