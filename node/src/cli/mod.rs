//! `purser`: what an operator types. It speaks to the service over its socket and knows nothing that the API
//! does not tell.

pub mod arguments;
mod client;
mod failure;
mod feed;
mod files;
mod name;
mod show;
mod sse;
mod verb;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::import::ImportVerb;
use self::arguments::ledger::SetVerb;
use self::arguments::pool::PoolVerb;
use self::arguments::{Arguments, ImageVerb, Verb};
use self::client::Client;
use self::failure::Failure;
use crate::config::Surroundings;

/// Runs `purser` with the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        eprintln!("purser {}: internal error{place}; please report this", env!("CARGO_PKG_VERSION"));
    }));
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("purser: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(run(arguments));
    // Reading from a terminal cannot be called off: nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.sentence());
            ExitCode::from(failure.code())
        }
    }
}

async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let socket = arguments.socket.unwrap_or_else(|| Surroundings::of_process().socket(None));
    let client = Client::new(socket);
    let namespace = arguments.namespace.as_deref();
    match arguments.verb {
        Verb::Apply(apply) => verb::apply::run(&client, namespace, apply).await,
        Verb::Get(get) => verb::get::run(&client, namespace, get).await,
        Verb::Describe(describe) => verb::describe::run(&client, namespace, describe).await,
        Verb::Logs(logs) => verb::logs::run(&client, namespace, logs).await,
        Verb::Exec(exec) => verb::exec::run(&client, namespace, exec).await,
        Verb::Resize(resize) => verb::resize::run(&client, namespace, resize).await,
        Verb::Stop(end) => verb::change::stop(&client, namespace, end).await,
        Verb::Start(start) => verb::change::start(&client, namespace, start).await,
        Verb::Delete(delete) => verb::delete::run(&client, namespace, delete).await,
        Verb::Wait(wait) => verb::wait::run(&client, namespace, wait).await,
        Verb::Events(events) => verb::events::run(&client, namespace, events).await,
        Verb::History(history) => verb::history::run(&client, namespace, history).await,
        Verb::Advise { output } => verb::advise::run(&client, output).await,
        Verb::Projections(projections) => verb::projections::run(&client, projections).await,
        Verb::Set { verb: SetVerb::Limits(set) } => verb::resources::set_limits(&client, set).await,
        Verb::Set { verb: SetVerb::Preset(set) } => verb::resources::set_preset(&client, set).await,
        Verb::Set { verb: SetVerb::Monitor(set) } => verb::violations::set(&client, set).await,
        Verb::Set { verb: SetVerb::Tenant(set) } => verb::tenant::set(&client, set).await,
        Verb::Resources(resources) => verb::resources::run(&client, resources).await,
        Verb::Reserve(reserve) => verb::reserve::run(&client, namespace, *reserve).await,
        Verb::CancelReservation(cancel) => verb::reserve::cancel(&client, cancel).await,
        Verb::Image { verb: ImageVerb::Load(load) } => verb::image::load(&client, load).await,
        Verb::Import { verb: ImportVerb::Quotas(quotas) } => verb::import::quotas(&client, quotas).await,
        Verb::Import { verb: ImportVerb::Deployment(file) } => verb::deployment::run(&client, file).await,
        Verb::Submit(submit) => verb::task::submit(&client, *submit).await,
        Verb::Confirm(change) => verb::task::confirm(&client, change).await,
        Verb::Discard(change) => verb::task::discard(&client, change).await,
        Verb::CancelTask(change) => verb::task::cancel(&client, change).await,
        Verb::TaskLog(log) => verb::task::log(&client, log).await,
        Verb::Unfreeze(unfreeze) => verb::pool::unfreeze(&client, unfreeze).await,
        Verb::Pool { verb: PoolVerb::Simulate(simulate) } => verb::simulate::run(&client, simulate).await,
        Verb::Status(status) => verb::status::run(&client, status).await,
        Verb::Cordon { what, reason } => verb::change::cordon(&client, &what, reason).await,
        Verb::Uncordon { what } => verb::change::uncordon(&client, &what).await,
        Verb::Drain(drain) => verb::drain::drain(&client, drain).await,
        Verb::Forget { what } => verb::drain::forget(&client, &what).await,
        Verb::Completion { shell } => {
            verb::completion(shell);
            Ok(0)
        }
    }
}
