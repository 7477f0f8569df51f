//! Every test that needs more than one package, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, helpers included")]

mod agent;
mod api_limits;
mod api_requests;
mod cli_answers;
mod cli_verbs;
mod containerd_runtime;
mod crash;
mod dist;
mod durability;
mod e2e;
mod exec_key;
mod faults;
mod first_steps;
mod full_disk;
mod fuzz;
mod gpus;
mod harness;
mod history;
mod image_load;
mod journal_kill;
mod ledger;
mod node_scenarios;
mod pod_model;
mod pod_scenarios;
mod pools;
mod power_cut;
mod redaction;
mod redaction_fold;
mod retention;
mod sealing;
mod simulator;
mod sweep;
mod tidy;
mod tui;
mod unmanaged;
mod violations;
