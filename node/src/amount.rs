//! Amounts of resources as people write them.

use purser_events::ledger::ResourceKind;

use crate::manifest::quantity;

/// Why an amount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a quantity.
    #[error("{0}")]
    Quantity(String),
    /// Not a whole number.
    #[error("must be a whole number without a unit")]
    Count,
    /// Not a share of compute.
    #[error("must be a whole number of percent, as in 50 or 50%")]
    Share,
}

/// Reads an amount of a resource in its unit: processor time as in `1500m`, memory and disk as in `64Mi`, shares of GPUs
/// as in `50%`, everything else as a whole number.
///
/// # Errors
/// The text is not of that form.
pub fn read(kind: &ResourceKind, text: &str) -> Result<u64, AmountError> {
    let quantity = |error: quantity::QuantityError| AmountError::Quantity(error.to_string());
    match kind {
        ResourceKind::Cpu => quantity::milli_cpu(text).map(|amount| amount.0).map_err(quantity),
        ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory => {
            quantity::bytes(text).map(|amount| amount.0).map_err(quantity)
        }
        ResourceKind::GpuShare => whole(text.strip_suffix('%').unwrap_or(text)).ok_or(AmountError::Share),
        ResourceKind::Pods
        | ResourceKind::Gpus
        | ResourceKind::Ports
        | ResourceKind::Subnets
        | ResourceKind::Custom(_) => whole(text).ok_or(AmountError::Count),
    }
}

/// Digits alone: no sign, no space.
fn whole(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_its_unit() {
        let read = |kind: ResourceKind, text| read(&kind, text);
        assert_eq!(read(ResourceKind::Cpu, "1.5"), Ok(1_500));
        assert_eq!(read(ResourceKind::Memory, "1Ki"), Ok(1_024));
        assert_eq!(read(ResourceKind::GpuShare, "50%"), Ok(50));
        assert_eq!(read(ResourceKind::GpuShare, "50"), Ok(50));
        assert_eq!(read(ResourceKind::Pods, "7"), Ok(7));
        for text in ["", "-1", "+1", " 1", "1Gi", "1.5", "1e3", "18446744073709551616"] {
            assert_eq!(read(ResourceKind::Pods, text), Err(AmountError::Count), "{text:?}");
        }
        assert_eq!(read(ResourceKind::GpuShare, "0.5"), Err(AmountError::Share));
        assert!(matches!(read(ResourceKind::Cpu, "-1"), Err(AmountError::Quantity(_))));
        assert!(matches!(read(ResourceKind::Memory, "1GB"), Err(AmountError::Quantity(_))));
    }
}
