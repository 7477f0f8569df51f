//! Runs one decoder, see `service.rs`.
#![no_main]

#[path = "../service.rs"]
#[allow(dead_code)]
mod service;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| service::api(bytes));
