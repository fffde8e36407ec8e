//! What is encrypted at rest: the keys of the configuration, sealing and opening.
//!
//! AES-256-GCM, by ring. A key of the configuration encrypts nothing itself. Each [`Sealer`] draws 32 random bytes, its
//! salt, and derives a key of its own from both (HKDF-SHA256); its nonces are a counter in memory. So no nonce is used
//! twice with one key, whatever transaction is made again and whatever the process dies of: another process, and another
//! sealer, has another salt. What is sealed names its key and carries its salt, so that keys can be changed and what is
//! there stays readable:
//!
//! ```text
//! key's name, salt, counter, ciphertext with its tag
//! ```
//!
//! in the framing of [`super::frame`]. The caller's associated data say where it belongs; it cannot be opened elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ring::aead;
use ring::aead::Aad;
use ring::aead::LessSafeKey;
use ring::aead::Nonce;
use ring::aead::UnboundKey;
use ring::hkdf;

use super::frame::Damaged;
use super::frame::FrameReader;
use super::frame::FrameWriter;

/// Bytes of a key of the configuration.
pub const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
/// What the derived keys are for; others would have other bytes here.
const PURPOSE: &[u8] = b"tidegate records 1";

/// What may be encrypted with: keys by their names, and other names for them. Shows no key.
#[derive(Default)]
pub struct Keyring {
    keys: BTreeMap<Arc<str>, [u8; KEY_BYTES]>,
    /// Without `alias/`.
    aliases: BTreeMap<String, Arc<str>>,
}

impl Keyring {
    /// Adds a key. `aliases` are `alias/NAME`.
    pub fn add(&mut self, name: &str, aliases: &[String], key: [u8; KEY_BYTES]) {
        let name: Arc<str> = Arc::from(name);
        for alias in aliases {
            let alias = alias.strip_prefix("alias/").unwrap_or(alias);
            self.aliases.insert(alias.to_owned(), Arc::clone(&name));
        }
        self.keys.insert(name, key);
    }

    /// The name of the key that a key id of AWS KMS means: the name itself, `alias/NAME`, or an ARN of either, whose
    /// region and account may be any.
    pub fn find(&self, key_id: &str) -> Option<&Arc<str>> {
        let resource = resource_of(key_id)?;
        let name = match resource.strip_prefix("alias/") {
            Some(alias) => self.aliases.get(alias)?,
            None => resource,
        };
        self.keys.get_key_value(name).map(|(name, _)| name)
    }

    fn derive(&self, name: &str, salt: &[u8]) -> Option<LessSafeKey> {
        let secret = self.keys.get(name)?;
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
        let purpose = [PURPOSE];
        let material = derived.expand(&purpose, &aead::AES_256_GCM);
        let material = material.expect("HKDF gives up to 8160 bytes, and a key has 32");
        Some(LessSafeKey::new(UnboundKey::from(material)))
    }
}

impl fmt::Debug for Keyring {
    /// The names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys.keys())
            .field("aliases", &self.aliases)
            .finish()
    }
}

/// What a key id names: `NAME` or `alias/NAME`; `None` when it is an ARN of something else.
fn resource_of(key_id: &str) -> Option<&str> {
    let Some(arn) = key_id.strip_prefix("arn:") else { return Some(key_id) };
    let mut parts = arn.splitn(5, ':');
    let is_kms = parts.next()?.starts_with("aws") && parts.next()? == "kms";
    let (_region, _account) = (parts.next()?, parts.next()?);
    let resource = parts.next().filter(|_| is_kms)?;
    resource.strip_prefix("key/").or(Some(resource).filter(|named| named.starts_with("alias/")))
}

/// The configuration does not have the key of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoKey(pub(crate) String);

/// Seals for as long as it lives.
#[derive(Default)]
pub(crate) struct Sealer {
    keyring: Arc<Keyring>,
    own: BTreeMap<Arc<str>, OwnKey>,
    /// Reused.
    text: Vec<u8>,
}

struct OwnKey {
    salt: [u8; SALT_BYTES],
    key: LessSafeKey,
    /// How often it has sealed: the next nonce.
    count: u64,
}

impl Sealer {
    pub(crate) fn new(keyring: Arc<Keyring>) -> Sealer {
        Sealer { keyring, ..Sealer::default() }
    }

    /// What it seals with.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Seals `clear` with the key of a name, and adds it to `frame`.
    pub(crate) fn seal(
        &mut self,
        name: &Arc<str>,
        associated: &[u8],
        clear: &[u8],
        frame: &mut FrameWriter,
    ) -> Result<(), NoKey> {
        if !self.own.contains_key(name) {
            let salt: [u8; SALT_BYTES] = rand::random();
            let key = self.keyring.derive(name, &salt).ok_or_else(|| NoKey(name.to_string()))?;
            self.own.insert(Arc::clone(name), OwnKey { salt, key, count: 0 });
        }
        let own = self.own.get_mut(name).ok_or_else(|| NoKey(name.to_string()))?;
        let count = own.count;
        // Before it is used: what is done again must not have it.
        own.count = count.checked_add(1).expect("nobody commits 2^64 times");
        self.text.clear();
        self.text.extend_from_slice(clear);
        own.key
            .seal_in_place_append_tag(nonce(count), Aad::from(associated), &mut self.text)
            .expect("AES-GCM seals up to 64 GiB at once, and a blob of SQLite has less");
        frame.put_bytes(name.as_bytes());
        frame.put_bytes(&own.salt);
        frame.put_varint(count);
        frame.put_bytes(&self.text);
        Ok(())
    }
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    bytes[aead::NONCE_LEN - size_of::<u64>()..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Why something stays sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// The key is not there.
    NoKey(NoKey),
    /// It is not what was sealed, or not where.
    Damaged(Damaged),
}

impl From<Damaged> for NotOpened {
    fn from(damaged: Damaged) -> Self {
        NotOpened::Damaged(damaged)
    }
}

/// Opens what was sealed; keeps the key it used last.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    keyring: Arc<Keyring>,
    last: RefCell<Option<Derived>>,
}

#[derive(Debug)]
struct Derived {
    name: String,
    salt: Vec<u8>,
    key: LessSafeKey,
}

impl Opener {
    pub(crate) fn new(keyring: Arc<Keyring>) -> Opener {
        Opener { keyring, last: RefCell::default() }
    }

    /// Reads what [`Sealer::seal`] has added, and opens it.
    pub(crate) fn open(
        &self,
        fields: &mut FrameReader<'_>,
        associated: &[u8],
    ) -> Result<Vec<u8>, NotOpened> {
        let (name, salt) = (fields.read_str()?, fields.read_bytes()?);
        let (count, text) = (fields.read_varint()?, fields.read_bytes()?);
        let mut last = self.last.borrow_mut();
        let derived = match &mut *last {
            Some(derived) if derived.name == name && derived.salt == salt => derived,
            last => {
                let key = self.keyring.derive(name, salt);
                let key = key.ok_or_else(|| NotOpened::NoKey(NoKey(name.to_owned())))?;
                last.insert(Derived { name: name.to_owned(), salt: salt.to_owned(), key })
            }
        };
        let mut text = text.to_vec();
        let opened = derived.key.open_in_place(nonce(count), Aad::from(associated), &mut text);
        let length = opened.map_err(|_| Damaged("it is not what was encrypted here"))?.len();
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Arc<Keyring> {
        let mut keyring = Keyring::default();
        keyring.add("one", &["alias/line".to_owned()], [1; KEY_BYTES]);
        keyring.add("two", &[], [2; KEY_BYTES]);
        Arc::new(keyring)
    }

    fn sealed(sealer: &mut Sealer, associated: &[u8], clear: &[u8]) -> Vec<u8> {
        let mut frame = FrameWriter::default();
        sealer.seal(&Arc::from("one"), associated, clear, &mut frame).unwrap();
        frame.seal().to_vec()
    }

    fn opened(keyring: Arc<Keyring>, associated: &[u8], blob: &[u8]) -> Result<Vec<u8>, NotOpened> {
        Opener::new(keyring).open(&mut FrameReader::open(blob).unwrap(), associated)
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_and_with_its_key_alone() {
        let mut sealer = Sealer::new(keyring());
        let (first, second) =
            (sealed(&mut sealer, b"a", b"text"), sealed(&mut sealer, b"a", b"text"));
        assert_ne!(first, second, "no nonce twice");
        assert!(!first.windows(4).any(|window| window == b"text"));
        for blob in [&first, &second] {
            assert_eq!(opened(keyring(), b"a", blob), Ok(b"text".to_vec()));
        }
        let wrong = Err(NotOpened::Damaged(Damaged("it is not what was encrypted here")));
        assert_eq!(opened(keyring(), b"b", &first), wrong);
        let mut other = Keyring::default();
        other.add("one", &[], [3; KEY_BYTES]);
        assert_eq!(opened(Arc::new(other), b"a", &first), wrong);
        let missing = Err(NotOpened::NoKey(NoKey("one".to_owned())));
        assert_eq!(opened(Arc::default(), b"a", &first), missing);
        assert_eq!(
            sealer.seal(&Arc::from("none"), b"", b"", &mut FrameWriter::default()),
            Err(NoKey("none".to_owned()))
        );
    }

    #[test]
    fn sealers_share_no_key_and_one_opener_reads_them_all() {
        let (mut one, mut other) = (Sealer::new(keyring()), Sealer::new(keyring()));
        let blobs = [
            sealed(&mut one, b"a", b"1"),
            sealed(&mut other, b"a", b"2"),
            sealed(&mut one, b"a", b"3"),
        ];
        let salt = |sealer: &Sealer| sealer.own["one"].salt;
        assert_ne!(salt(&one), salt(&other));
        assert_eq!(one.own["one"].count, 2);
        let opener = Opener::new(keyring());
        for (blob, clear) in blobs.iter().zip([b"1", b"2", b"3"]) {
            let mut fields = FrameReader::open(blob).unwrap();
            assert_eq!(opener.open(&mut fields, b"a"), Ok(clear.to_vec()));
        }
    }

    #[test]
    fn key_ids_are_those_of_kms() {
        let keyring = keyring();
        let arn = "arn:aws:kms:eu-central-1:123456789012:";
        for (key_id, name) in [
            ("one", Some("one")),
            ("alias/line", Some("one")),
            (&*format!("{arn}key/two"), Some("two")),
            (&*format!("{arn}alias/line"), Some("one")),
            ("alias/one", None),
            ("line", None),
            ("", None),
            (&*format!("{arn}two"), None),
            ("arn:aws:kinesis:eu-central-1:123456789012:key/two", None),
            ("arn:aws:kms:key/two", None),
        ] {
            assert_eq!(keyring.find(key_id).map(|name| &**name), name, "{key_id}");
        }
        let shown = format!("{keyring:?}");
        assert!(shown.contains("line") && !shown.contains("1, 1"), "{shown}");
    }
}
