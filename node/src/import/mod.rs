//! What other systems had in force: quota tables of a legacy cluster manager, turned into tenants and reported field by
//! field, and Deployments, turned into pools. Nothing here sends anything.

mod compare;
mod convert;
mod csv;
pub mod deployment;
mod field;
mod read;

pub use compare::{Change, Compared, compare};
pub use convert::{Finding, Imported, Verdict, convert};
pub use field::{LegacyField, legacy_fields};
pub use read::{Format, ImportError, Quota, TABLE_BYTES_MAX, TENANTS_MAX, read};
