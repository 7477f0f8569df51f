//! What every backend of the store must do, tried on each of them: the trait in `storage/src/store/mod.rs` as tests.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod contract;
mod damage;
mod kill;
mod model;
mod readers;
#[path = "../seed/mod.rs"]
mod seed;
mod support;

/// Makes a module of tests for each backend, from functions that take the backend.
macro_rules! every_backend {
    ($($suite:ident::$case:ident,)*) => {
        mod sled {
            $(#[test]
            fn $case() {
                crate::$suite::$case(purser_storage::store::Backend::Sled);
            })*
        }

        mod redb {
            $(#[test]
            fn $case() {
                crate::$suite::$case(purser_storage::store::Backend::Redb);
            })*
        }
    };
}

every_backend! {
    contract::a_batch_is_made_whole,
    contract::the_later_write_of_a_key_counts,
    contract::what_is_removed_is_gone,
    contract::scans_are_in_order_and_within_bounds,
    contract::scans_stop_when_told,
    contract::ranges_that_hold_nothing_show_nothing,
    contract::every_byte_may_be_in_a_key,
    contract::the_last_key_is_that_of_the_range,
    contract::ranges_are_removed_from_their_start_up_to_a_number,
    contract::long_values_come_back,
    contract::what_was_applied_is_there_after_a_close,
    contract::bytes_on_disk_grow,
    contract::a_store_is_opened_once,
    contract::what_is_in_the_way_is_an_error,
    contract::a_foreign_file_is_an_error,
    kill::what_was_synced_survives_a_kill,
    model::random_batches_do_as_in_a_map,
    readers::readers_see_whole_batches,
}
