//! Metrics as Prometheus scrapes them. What counts events of this process is kept by the global recorder; what
//! the world says is rendered anew for each scrape, so that the series of a pod that is gone are gone too.

mod gpus;
pub mod journal;
mod ledger;
mod pods;
mod pools;
mod process;
pub mod request;
mod violations;
mod world;

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use purser_actors::metric::{self, Kind, Metric};
use purser_actors::service::Service;

/// Time between two times that what was counted is summed up.
const UPKEEP: Duration = Duration::from_secs(15);

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Exposition {
    counted: PrometheusHandle,
}

impl Exposition {
    /// Installs the recorder of this process. Can be done once.
    ///
    /// # Errors
    /// There is a recorder already.
    pub fn install() -> Result<Exposition, BuildError> {
        let counted = builder(metric::ALL)?.install_recorder()?;
        for metric in metric::ALL.iter().filter(|metric| !world::renders(metric)) {
            metric::describe(metric);
        }
        let kept = counted.clone();
        // Without it, figures for histograms would pile up where nobody scrapes. A service without the thread is none the
        // worse while somebody does.
        let upkeep = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                kept.run_upkeep();
            }
        });
        if let Err(error) = upkeep {
            tracing::warn!(%error, "no thread can sum up metrics between scrapes");
        }
        Ok(Exposition { counted })
    }

    /// Everything, in Prometheus' text format. Blocks on the disk for a moment.
    #[must_use]
    pub fn render(&self, service: &Service) -> String {
        let mut text = self.counted.render();
        text.push_str(&world::render(service));
        self.counted.run_upkeep();
        text
    }
}

fn builder(metrics: &[Metric]) -> Result<PrometheusBuilder, BuildError> {
    let histograms = metrics.iter().filter(|metric| metric.kind == Kind::Histogram);
    histograms.into_iter().try_fold(PrometheusBuilder::new(), |builder, metric| {
        builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_lists_every_metric() {
        let page = include_str!("../../../docs/metrics.md");
        for metric in metric::ALL {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let row = format!(
                "| `{}` | {} | {} | {labels} | {} |",
                metric.name,
                metric.kind.word(),
                metric.unit,
                metric.description
            );
            assert!(page.contains(&row), "docs/metrics.md lacks this row:\n{row}");
        }
    }
}
