//! Probes over the network, as the actors need them.

use std::time::Duration;

use async_trait::async_trait;

/// What one check saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeVerdict {
    /// Whether it counts as a success.
    pub success: bool,
    /// What was seen, for people; at most 256 bytes, no secrets.
    pub message: String,
}

/// Makes network checks of containers. Never fails: whatever goes wrong is a failed check.
#[async_trait]
pub trait ProbeTransport: Send + Sync + 'static {
    /// Asks `http://host:port/path`; 200 to 399 is success, redirects are not followed.
    async fn http_get(
        &self,
        host: &str,
        port: u16,
        path: &str,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> ProbeVerdict;

    /// Connects; that the connection opens is success.
    async fn tcp_connect(&self, host: &str, port: u16, timeout: Duration) -> ProbeVerdict;
}
