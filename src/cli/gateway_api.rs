//! The HTTP API of a running gateway, asked by commands.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use anyhow::bail;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;

use crate::gateway::TOKEN_FILE;
use crate::storage::LockHolder;
use crate::storage::Storage;

/// A running gateway.
pub(super) struct Gateway {
    /// Where it listens.
    pub(super) http: SocketAddr,
    /// Opens its HTTP side, where that is locked; who may read the data folder may have it.
    token: Option<String>,
}

impl Gateway {
    /// The one that runs on a data folder.
    ///
    /// # Errors
    /// There is none, or it is not ready.
    pub(super) fn of(data: &Path) -> anyhow::Result<Gateway> {
        let folder = data.display();
        match Storage::holder(data)? {
            Some(LockHolder { http: Some(http), .. }) => Ok(Gateway::at(http, data)),
            Some(LockHolder { pid, .. }) => {
                bail!("process {pid} uses {folder}, and is no gateway that is ready")
            }
            None => bail!("no gateway runs on {folder}; --data names its data directory"),
        }
    }

    /// The one at an address, whose data folder is known.
    pub(super) fn at(http: SocketAddr, data: &Path) -> Gateway {
        let token = std::fs::read_to_string(data.join(TOKEN_FILE)).ok();
        Gateway { http, token: token.map(|token| token.trim().to_owned()) }
    }

    /// Asks for the path of these segments. Answers the JSON of a success; Null where there is none.
    ///
    /// # Errors
    /// The gateway does not answer, or refuses; the error has its reason.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method, path, body).await?;
        if !status.is_success() {
            let message = answer["error"]["message"].as_str().unwrap_or("it gave no reason");
            bail!("the gateway at http://{} refused it ({status}): {message}", self.http);
        }
        Ok(answer)
    }

    /// As [`Gateway::ask`], for who tells one refusal from another: answers the status too.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let http = self.http;
        // The client wants a TLS provider even for plain HTTP; one may be installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("the HTTP client did not start")?;
        let mut url = reqwest::Url::parse(&format!("http://{}", reachable(http)))
            .context("the lock file names no address")?;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("an http URL has a path"))?
            .extend(path);
        let mut request = client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("the gateway at http://{http} does not answer"))?;
        let status = response.status();
        let text = response.text().await.context("the gateway's answer broke off")?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

/// A gateway that listens on every address is reached on this machine's own.
pub(super) fn reachable(http: SocketAddr) -> SocketAddr {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, http.port())
}
