//! StartStreamEncryption and StopStreamEncryption: records encrypted at rest by a key of the configuration.

use std::sync::Arc;

use serde::Deserialize;

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::Text;
use super::target::checked_name;

const TYPES: [&str; 2] = ["KMS", "NONE"];
/// What encrypted records and streams say.
pub(super) const KMS: &str = "KMS";

/// The request of both.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EncryptionRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    encryption_type: Option<Text>,
    key_id: Option<Text>,
}

impl EncryptionRequest {
    /// The stream and the key's id.
    fn checked(self) -> Result<(String, String), Fault> {
        let mut findings = Findings::default();
        let kind = self.encryption_type.as_ref();
        findings.needs(kind, "encryptionType");
        findings.word(kind.map(|kind| &*kind.0), "encryptionType", &TYPES);
        let key_id = self.key_id.as_ref();
        findings.needs(key_id, "keyId");
        findings.length(key_id.map(|key_id| &*key_id.0), "keyId", 1, 2048);
        let name = checked_name(findings, self.stream_name, self.stream_arn)?;
        if self.encryption_type.is_some_and(|kind| kind.0 != KMS) {
            return Err(Fault::invalid("Encryption type is invalid. The only valid value is KMS."));
        }
        Ok((name, self.key_id.map(|key_id| key_id.0).unwrap_or_default()))
    }
}

/// Encrypts what is put from now on; also with another key than before.
pub(super) async fn start(kinesis: &Arc<Kinesis>, request: EncryptionRequest) -> Result<(), Fault> {
    let (name, key_id) = request.checked()?;
    if kinesis.keyring.find(&key_id).is_none() {
        return Err(kinesis.no_key(&key_id));
    }
    change(kinesis, name, Some(key_id)).await
}

/// Encrypts no more of what is put.
pub(super) async fn stop(kinesis: &Arc<Kinesis>, request: EncryptionRequest) -> Result<(), Fault> {
    let (name, _) = request.checked()?;
    change(kinesis, name, None).await
}

async fn change(kinesis: &Kinesis, name: String, key_id: Option<String>) -> Result<(), Fault> {
    let changed = kinesis.lineage.encrypt(name.clone(), key_id).await?;
    changed.map_err(|refused| kinesis.refuse(&name, refused))?;
    kinesis.meter.unlock(&name);
    Ok(())
}

impl Kinesis {
    /// There is no such key, in the words of AWS KMS.
    pub(super) fn no_key(&self, key_id: &str) -> Fault {
        let full = |resource: &str| match key_id.starts_with("arn:") {
            true => key_id.to_owned(),
            false => format!("arn:aws:kms:{}:{}:{resource}", self.region, self.account_id),
        };
        let message = match key_id.split(':').next_back().is_some_and(|id| id.starts_with("alias/"))
        {
            true => format!("Alias {} is not found.", full(key_id)),
            false => format!("Key '{}' does not exist", full(&format!("key/{key_id}"))),
        };
        Fault::no_key(message)
    }
}
