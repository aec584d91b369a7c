//! The admin listener: plain HTTP for probes and metrics, on this machine unless configured otherwise.
//!
//! Knows whether the server lives and is ready, and counters; no name of a tenant or key, no secret, and nothing that changes
//! anything.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What `/readyz` says.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// Why the server should get no new requests; empty when it should.
    pub faults: Vec<String>,
    /// What an operator should see to before it becomes a fault.
    pub warnings: Vec<String>,
}

/// Asked each time somebody probes.
pub type AskReadiness = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    1.0, 5.0,
];

/// How often histograms are folded, asked for or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts collecting metrics; asked again, gives the same collection.
///
/// # Errors
/// Where another recorder is in place.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut handle = HANDLE.lock();
    if let Some(handle) = &*handle {
        return Ok(handle.clone());
    }
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)?;
    let installed = builder.install_recorder()?;
    *handle = Some(installed.clone());
    Ok(installed)
}

/// Serves `/livez`, `/readyz` and `/metrics` until `stop`.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: AskReadiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let upkeep = metrics.clone();
    let folding = stop.clone();
    tokio::spawn(async move {
        while folding.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            upkeep.run_upkeep();
        }
    });
    axum::serve(listener, routes(metrics, readiness)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn routes(metrics: PrometheusHandle, readiness: AskReadiness) -> Router {
    let readyz = move || async move {
        let Readiness { faults, warnings } = readiness();
        let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        match faults.is_empty() {
            true => (StatusCode::OK, format!("ready\n{warnings}")),
            false => (StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n" + &warnings),
        }
    };
    let metrics = move || async move {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
    };
    Router::new()
        .route("/livez", get(async || "live\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_answer_and_nothing_else_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        let state = ready.clone();
        let readiness: AskReadiness = Arc::new(move || Readiness {
            faults: match state.load(Ordering::Relaxed) {
                true => vec![],
                false => vec!["the audit cannot be written".into()],
            },
            warnings: vec!["the disk is 85 % full".into()],
        });
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, metrics().unwrap(), readiness, stop.clone()));

        metrics::counter!("kms_test_total").increment(3);
        metrics::histogram!("kms_test_seconds").record(0.002);
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let warned = ask(address, "/readyz").await;
        assert!(
            warned.starts_with("HTTP/1.1 200") && warned.contains("warning: the disk is 85 % full"),
            "{warned}"
        );
        let text = ask(address, "/metrics").await;
        assert!(text.contains("\nkms_test_total 3\n"), "{text}");
        assert!(text.contains("kms_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        assert!(ask(address, "/").await.starts_with("HTTP/1.1 404"));

        ready.store(false, Ordering::Relaxed);
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("audit"), "{answer}");
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));

        stop.cancel();
        served.await.unwrap().unwrap();
    }
}
