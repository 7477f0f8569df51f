//! What containers ask for: limits and requests.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use purser_events::ledger::{CustomName, ResourceKind};
use purser_events::pod::spec::Resources;
use purser_events::{Bytes, MilliCpu};

use super::error::FieldErrors;
use super::path;
use super::quantity::{self, QuantityError};
use crate::amount;

/// The name under which room on disk is asked for.
pub(super) const DISK: &str = "ephemeral-storage";
/// The name under which whole GPUs are asked for.
pub(super) const GPU: &str = "nvidia.com/gpu";
/// As of every quantity.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

type Amounts = BTreeMap<String, Quantity>;

/// What one container asks for, apart from GPUs: those are the pod's, see [`gpus`].
pub(super) fn resources(given: k8s::ResourceRequirements, path: &str, errors: &mut FieldErrors) -> Resources {
    let (limits, requests) = (given.limits.unwrap_or_default(), given.requests.unwrap_or_default());
    let mut amounts = |name: &str, read: fn(&str) -> Result<u64, QuantityError>| {
        measured(&limits, &requests, name, read, path, errors)
    };
    let (cpu_limit, cpu_request) = amounts("cpu", |text| quantity::milli_cpu(text).map(|amount| amount.0));
    let bytes = |text: &str| quantity::bytes(text).map(|amount| amount.0);
    let (memory_limit, memory_request) = amounts("memory", bytes);
    let (disk_limit, disk_request) = amounts(DISK, bytes);
    Resources {
        cpu_limit: cpu_limit.map(MilliCpu),
        cpu_request: cpu_request.map(MilliCpu),
        memory_limit: memory_limit.map(Bytes),
        memory_request: memory_request.map(Bytes),
        disk_limit: disk_limit.map(Bytes),
        disk_request: disk_request.map(Bytes),
        custom: counted(&limits, &requests, path, errors),
    }
}

/// Whole GPUs that the containers ask for: together, or as many as one of the init containers if that is more. What is
/// wrong with an amount is said where the container is read.
pub(super) fn gpus(init: &[k8s::Container], app: &[k8s::Container]) -> u64 {
    let of = |container: &k8s::Container| {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        limits.and_then(|limits| limits.get(GPU)).and_then(|quantity| count(&quantity.0).ok()).unwrap_or(0)
    };
    let together = app.iter().map(of).fold(0, u64::saturating_add);
    init.iter().map(of).fold(together, u64::max)
}

/// Limit and request of something that can be had in part.
fn measured(
    limits: &Amounts,
    requests: &Amounts,
    name: &str,
    read: fn(&str) -> Result<u64, QuantityError>,
    path: &str,
    errors: &mut FieldErrors,
) -> (Option<u64>, Option<u64>) {
    let mut amount = |list: &str, quantity: Option<&Quantity>, min: u64| {
        let at = format!("{path}.resources.{list}.{name}");
        match quantity.map(|quantity| read(&quantity.0)) {
            None => None,
            Some(Ok(amount)) if amount >= min => Some(amount),
            Some(Ok(_)) => {
                errors.add(&at, "must be more than 0");
                None
            }
            Some(Err(error)) => {
                errors.add(&at, error.to_string());
                None
            }
        }
    };
    let limit = amount("limits", limits.get(name), 1);
    let request = amount("requests", requests.get(name), 0);
    if let (Some(limit), Some(request)) = (limit, request)
        && request > limit
    {
        errors.add(&format!("{path}.resources.requests.{name}"), "must not be more than the limit");
    }
    // A limit without a request asks for all that it allows, as in Kubernetes.
    (limit, if requests.contains_key(name) { request } else { limit })
}

/// What is counted and cannot be had in part: its name has a domain, and nothing is given beyond the limit.
fn counted(
    limits: &Amounts,
    requests: &Amounts,
    path: &str,
    errors: &mut FieldErrors,
) -> BTreeMap<CustomName, u64> {
    let mut custom = BTreeMap::new();
    let names: BTreeSet<&String> = limits.keys().chain(requests.keys()).collect();
    for name in names.into_iter().filter(|name| name.contains('/')) {
        let at = |list: &str| format!("{path}.resources.{list}[{}]", path::key(name));
        let is_limited = limits.contains_key(name);
        let Ok(checked) = CustomName::new(name) else {
            let list = if is_limited { "limits" } else { "requests" };
            errors.add(
                &at(list),
                "must be a DNS subdomain, '/' and letters, digits, '-', '_' and '.', as in example.com/dongle, of at \
                 most 128 characters",
            );
            continue;
        };
        let mut read = |list: &str, amounts: &Amounts| {
            let counted = count(&amounts.get(name)?.0);
            counted.map_err(|message| errors.add(&at(list), message)).ok()
        };
        let (limit, request) = (read("limits", limits), read("requests", requests));
        if !is_limited {
            errors.add(&at("requests"), "must stand in limits too, with the same number");
        } else if let (Some(limit), Some(request)) = (limit, request)
            && limit != request
        {
            errors.add(&at("requests"), "must be the same as in limits: it cannot be had in part");
        }
        if let Some(limit) = limit.filter(|_| name != GPU) {
            custom.insert(checked, limit);
        }
    }
    custom
}

fn count(text: &str) -> Result<u64, String> {
    match amount::read(&ResourceKind::Gpus, text) {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) if COUNT_MAX < count => Err(QuantityError::TooLarge.to_string()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}
