//! The life of `purserd`: up, serving, and down in order.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use purser_actors::Service;
use purser_actors::port::Clock;
use purser_storage::Journal;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::arguments::{Arguments, KeysVerb, Verb};
use super::exit::Failure;
use super::{assembly, journal, keys, log_keeper, notify, telling};
use crate::adapter::clock::{SystemClock, UuidV7};
use crate::agents::output::TaskOutputs;
use crate::agents::serve::Serving;
use crate::agents::{self, Agents};
use crate::api::admission::{Gate, Limits};
use crate::api::listen::{Server, bind_socket, bind_tcp};
use crate::api::router::router;
use crate::api::state::Api;
use crate::api::token::Tokens;
use crate::config::{self, Config, Surroundings};
use crate::metrics::Exposition;

/// How long requests that are open may take to end when the service goes down.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Threads that serve requests.
const API_THREADS: usize = 2;

/// Runs `purserd` with the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Some(Verb::Completion { shell }) => {
            clap_complete::generate(shell, &mut Arguments::command(), "purserd", &mut std::io::stdout());
            Ok(())
        }
        Some(Verb::CheckConfig) => check_config(arguments.config.as_deref()),
        Some(Verb::Keys { verb: KeysVerb::Setup { name } }) => {
            keys::setup(arguments.config.as_deref(), name.as_deref())
        }
        Some(Verb::Keys { verb: KeysVerb::Show }) => keys::show(arguments.config.as_deref()),
        Some(Verb::Journal { verb }) => journal::run(arguments.config.as_deref(), &verb),
        None => run(arguments.config.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("purserd: {}", failure.sentence());
            failure.code()
        }
    }
}

fn check_config(file: Option<&Path>) -> Result<(), Failure> {
    let config = config::load(file, &Surroundings::of_process())?;
    if let Some(tcp) = &config.api.tcp {
        Tokens::read(&tcp.token_file)?;
    }
    print!("{}", config::render(&config));
    Ok(())
}

fn run(file: Option<&Path>) -> Result<(), Failure> {
    telling::guard_panics();
    let started_at = SystemClock.now();
    let config = Arc::new(config::load(file, &Surroundings::of_process())?);
    telling::begin_log(&config.log);
    let tokens = config.api.tcp.as_ref().map(|tcp| Tokens::read(&tcp.token_file)).transpose()?;
    assembly::make_data_dir(&config.data_dir)?;
    let exposition = Exposition::install()?;
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_THREADS)
        .thread_name("api")
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    // The journal's lock comes first: whoever does not hold it must touch nothing else of the node.
    let parts = {
        // Connections to containerd live on these threads.
        let _entered = threads.enter();
        assembly::parts(&config)?
    };
    telling::note_open();
    let journal = parts.shell.journal.clone();
    tracing::info!(head = %journal.head().seq, epoch = journal.epoch(), "journal replayed");
    let doors = threads.block_on(open(&config, tokens))?;
    let agents_socket = doors.agents.0.socket();
    let ended = actix::System::new().block_on(async {
        let mut signals = Signals::new().map_err(Failure::Runtime)?;
        let service = purser_actors::start(parts).await?;
        service.keep_reserve(assembly::reserve_limits(&config)).await;
        let (stop, stopped) = watch::channel(false);
        let api = Api {
            service: service.clone(),
            config: config.clone(),
            allowances: Arc::default(),
            cdi: assembly::cdi(&config),
            exposition,
            started_at,
            stop: stopped,
        };
        let connections = serve(&threads, api, doors);
        notify::ready();
        tracing::info!(socket = %config.api.socket.display(), "ready");
        let ended = live(&journal, &config.data_dir, &mut signals).await;
        notify::stopping();
        stop.send_replace(true);
        if let Ok(reason) = &ended {
            go_down(&service, connections, &mut signals, reason).await;
            assembly::leave_cgroups(&config);
        }
        ended
    });
    threads.shutdown_background();
    ended?;
    for socket in [&config.api.socket, &agents_socket] {
        let _ = std::fs::remove_file(socket);
    }
    journal.close().map_err(Failure::Close)?;
    tracing::info!("stopped; pods go on");
    Ok(())
}

/// Where requests come in.
struct Doors {
    socket: UnixListener,
    agents: (Agents, UnixListener),
    tcp: Option<(TcpListener, Arc<Tokens>)>,
}

/// Binds what requests come in through: they wait there until the node is up.
async fn open(config: &Config, tokens: Option<Tokens>) -> Result<Doors, Failure> {
    let socket = bind_socket(&config.api.socket, config.api.socket_group.as_deref()).await?;
    let agents = assembly::agents(config)?;
    let agents_socket = agents::serve::bind(&agents).await?;
    let tcp = match (&config.api.tcp, tokens) {
        (Some(tcp), Some(tokens)) => Some((bind_tcp(tcp.address).await?, Arc::new(tokens))),
        (_, _) => None,
    };
    Ok(Doors { socket, agents: (agents, agents_socket), tcp })
}

/// Begins to serve requests, on threads of their own; gives the connections that will be open.
fn serve(threads: &Runtime, api: Api, doors: Doors) -> TaskTracker {
    let config = Arc::clone(&api.config);
    let limits = Limits {
        per_second: config.api.requests_per_second,
        burst: config.api.requests_burst,
        open_max: config.api.requests_open_max,
        open_each: None,
    };
    threads.spawn(log_keeper::keep(api.service.clone(), config.runtime.log_bytes_max.get()));
    let connections = TaskTracker::new();
    let head_timeout = Duration::from_millis(config.api.head_timeout_ms.get());
    let (agents, listener) = doors.agents;
    let outputs = TaskOutputs::of(&config);
    threads.spawn(agents::serve::keep_outputs(api.service.clone(), outputs.clone()));
    let (service, stop) = (api.service.clone(), api.stop.clone());
    let serving = Serving { agents, service, outputs, head_timeout, stop, connections: connections.clone() };
    threads.spawn(agents::serve::serve(serving, listener));
    let server = Server {
        head_timeout,
        stop: api.stop.clone(),
        connections: connections.clone(),
        router: router(api, Arc::new(Gate::new(limits, Arc::new(UuidV7)))),
    };
    if let Some((listener, tokens)) = doors.tcp {
        threads.spawn(server.clone().serve_tcp(listener, tokens));
    }
    threads.spawn(server.serve_socket(doors.socket));
    connections
}

/// Waits until the service is to end, and says why.
async fn live(journal: &Journal, data_dir: &Path, signals: &mut Signals) -> Result<&'static str, Failure> {
    let mut fatal = journal.fatal();
    tokio::select! {
        reason = signals.next() => Ok(reason),
        failed = fatal.wait_for(Option::is_some) => {
            let source = failed.ok().and_then(|failed| failed.clone());
            let path = data_dir.join("journal");
            // A journal that is gone without a word was closed under us, which only a defect can do.
            let source = source.unwrap_or_else(|| Arc::new(purser_storage::JournalError::Closed));
            Err(Failure::Fatal { path, source })
        }
    }
}

/// Lets open requests end, records the stop. A second signal cuts the wait short.
async fn go_down(service: &Service, connections: TaskTracker, signals: &mut Signals, reason: &str) {
    tracing::info!(reason, "stopping");
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = tokio::time::sleep(DRAIN_MAX) => tracing::warn!("requests that are still open are cut off"),
        again = signals.next() => tracing::warn!(reason = again, "stopping at once"),
    }
    service.shut_down(reason).await;
}

/// The signals that end the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
