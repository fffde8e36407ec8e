//! The APIs of Kinesis Data Streams and Firehose, called by commands: a gateway's, Amazon's, or another's.
//!
//! Requests are signed when there are access keys where the AWS CLI looks for them too: the environment
//! (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), or the profile (`AWS_PROFILE`) in the files that
//! `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` name, or `~/.aws/credentials` and `~/.aws/config`. The region is
//! `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, or what the endpoint's name says. Other ways to come by keys
//! (single sign-on, roles, a machine's own) are not tried.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::data_folder::DataArgs;
use crate::clock::Clock;
use crate::kinesis::Signer;
use crate::storage::LockHolder;
use crate::storage::Storage;

/// Of one request, its answer included.
const TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_PROFILE: &str = "default";

/// Where the API is.
#[derive(Args, Debug, Clone)]
pub(super) struct EndpointArgs {
    /// Endpoint of the Kinesis API, such as `https://kinesis.eu-central-1.amazonaws.com`; requests are signed with the
    /// access keys of the environment or of the AWS profile, if there are any
    #[arg(long, value_name = "URL")]
    pub(super) endpoint: Option<Url>,
}

/// What a call ended with that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// `ResourceNotFoundException`
    pub(super) kind: String,
    /// In the API's words.
    pub(super) message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Refused {}

/// What is called at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Kinesis Data Streams.
    Streams,
    /// Amazon Data Firehose.
    Firehose,
}

impl Service {
    /// What its operations are called behind.
    fn target(self) -> &'static str {
        match self {
            Service::Streams => "Kinesis_20131202",
            Service::Firehose => "Firehose_20150804",
        }
    }

    /// Its name in hosts and signatures.
    fn name(self) -> &'static str {
        match self {
            Service::Streams => "kinesis",
            Service::Firehose => "firehose",
        }
    }
}

/// An endpoint that can be called. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct KinesisApi {
    service: Service,
    url: Url,
    signer: Option<Signer>,
    client: reqwest::Client,
    clock: Clock,
}

impl KinesisApi {
    /// The one at a URL.
    pub(super) fn at(url: Url) -> anyhow::Result<KinesisApi> {
        let signer =
            signer(&url, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        // The client wants a TLS provider even for plain HTTP; one may be installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .context("the HTTP client did not start")?;
        let service = Service::Streams;
        Ok(KinesisApi { service, url, signer, client, clock: Clock::start() })
    }

    /// Another service there.
    pub(super) fn of(self, service: Service) -> KinesisApi {
        KinesisApi { service, ..self }
    }

    /// The one that is named, or else that of the gateway on the data folder.
    pub(super) fn open(endpoint: &EndpointArgs, data: &DataArgs) -> anyhow::Result<KinesisApi> {
        if let Some(url) = &endpoint.endpoint {
            return KinesisApi::at(url.clone());
        }
        match Storage::holder(&data.data)? {
            Some(LockHolder { http: Some(http), .. }) => {
                let http = super::gateway_api::reachable(http);
                KinesisApi::at(Url::parse(&format!("http://{http}"))?)
            }
            _ => anyhow::bail!(
                "no gateway runs on {}; --data names its data directory, --endpoint a Kinesis API",
                data.data.display()
            ),
        }
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// [`Refused`] when the API says so; another when it does not answer.
    pub(super) async fn call(&self, operation: &str, request: &Value) -> anyhow::Result<Value> {
        let body = request.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        let target = format!("{}.{operation}", self.service.target());
        headers.insert("x-amz-target", HeaderValue::try_from(target)?);
        if let Some(signer) = &self.signer {
            let uri = self.url.as_str().parse().context("the endpoint is no URL")?;
            let (service, now) = (self.service.name(), self.clock.now());
            signer.sign(service, &uri, &mut headers, body.as_bytes(), now)?;
        }
        let sent = self.client.post(self.url.clone()).headers(headers).body(body).send().await;
        let response = sent.with_context(|| format!("{} does not answer", self.url))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("{} broke off", self.url))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let kind = answer["__type"].as_str().and_then(|kind| kind.rsplit('#').next());
        let message = answer["message"].as_str().or(answer["Message"].as_str());
        Err(Refused {
            kind: kind.map_or_else(|| status.to_string(), str::to_owned),
            message: message.unwrap_or("it gave no reason").to_owned(),
        }
        .into())
    }
}

/// What signs, if there are keys.
fn signer(url: &Url, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Signer>> {
    let named = env("AWS_PROFILE");
    let name = named.as_deref().unwrap_or(DEFAULT_PROFILE);
    let config = profile(env, "AWS_CONFIG_FILE", ".aws/config", name)?;
    let region = env("AWS_REGION")
        .or_else(|| env("AWS_DEFAULT_REGION"))
        .or_else(|| config.get("region").cloned())
        .or_else(|| region_of(url))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    if let (Some(key), Some(secret)) = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY")) {
        let session_token = env("AWS_SESSION_TOKEN");
        return Ok(Some(Signer { key, secret, session_token, region }));
    }
    let mut found = config;
    found.extend(profile(env, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", name)?);
    match (found.remove("aws_access_key_id"), found.remove("aws_secret_access_key")) {
        (Some(key), Some(secret)) => {
            let session_token = found.remove("aws_session_token");
            Ok(Some(Signer { key, secret, session_token, region }))
        }
        _ if named.is_some() => anyhow::bail!("the AWS profile '{name}' has no access key"),
        _ => Ok(None),
    }
}

/// The settings of a profile in a file of the AWS CLI; none when there is no file.
fn profile(
    env: &dyn Fn(&str) -> Option<String>,
    variable: &str,
    usual: &str,
    name: &str,
) -> anyhow::Result<HashMap<String, String>> {
    let home = || env("HOME").map(|home| PathBuf::from(home).join(usual));
    let Some(path) = env(variable).map(PathBuf::from).or_else(home) else {
        return Ok(HashMap::new());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let mut is_ours = false;
    let mut settings = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let section = section.trim();
            is_ours = section.strip_prefix("profile ").unwrap_or(section).trim() == name;
        } else if is_ours
            && !line.starts_with('#')
            && let Some((key, value)) = line.split_once('=')
        {
            settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    Ok(settings)
}

/// `eu-central-1` of `kinesis.eu-central-1.amazonaws.com`.
fn region_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let (_, rest) = host.split_once("kinesis.").or_else(|| host.split_once("firehose."))?;
    let (region, domain) = rest.split_once('.')?;
    domain.starts_with("amazonaws.com").then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(env: &[(&str, &str)], url: &str) -> anyhow::Result<Option<Signer>> {
        let env: HashMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        signer(&Url::parse(url).unwrap(), &|name| env.get(name).cloned())
    }

    #[test]
    fn keys_of_the_environment_come_before_those_of_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(
            path("credentials"),
            "[default]\naws_access_key_id = A\naws_secret_access_key = a=b\n\n[line]\n\
             aws_access_key_id=L\n# aws_access_key_id=X\naws_secret_access_key=l\naws_session_token=t\n",
        )
        .unwrap();
        std::fs::write(path("config"), "[default]\nregion = eu-west-1\n[profile line]\nregion=x\n")
            .unwrap();
        let (config, credentials) = (path("config"), path("credentials"));
        let files = [("AWS_CONFIG_FILE", &*config), ("AWS_SHARED_CREDENTIALS_FILE", &*credentials)];
        let signer = found(&files, "http://h").unwrap().unwrap();
        assert_eq!((&*signer.key, &*signer.secret, &*signer.region), ("A", "a=b", "eu-west-1"));
        let line = [files[0], files[1], ("AWS_PROFILE", "line")];
        let signer = found(&line, "http://h").unwrap().unwrap();
        assert_eq!(
            (&*signer.key, signer.session_token.as_deref(), &*signer.region),
            ("L", Some("t"), "x")
        );
        let keys = [files[0], files[1], ("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")];
        assert_eq!(found(&keys, "http://h").unwrap().unwrap().key, "E");
        assert!(!format!("{:?}", found(&keys, "http://h").unwrap()).contains("\"e\""));
        let none = [files[0], files[1], ("AWS_PROFILE", "none")];
        assert_eq!(
            found(&none, "http://h").unwrap_err().to_string(),
            "the AWS profile 'none' has no access key"
        );
        assert!(found(&[], "http://h").unwrap().is_none());
    }

    #[test]
    fn amazons_endpoints_say_their_region() {
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")];
        for (url, region) in [
            ("https://kinesis.eu-central-1.amazonaws.com", "eu-central-1"),
            ("https://vpce-1.kinesis.us-west-2.amazonaws.com.cn", "us-west-2"),
            ("http://127.0.0.1:8080", "us-east-1"),
        ] {
            assert_eq!(found(&keys, url).unwrap().unwrap().region, region);
        }
    }
}
