//! The commands, as TCG's "Trusted Platform Module Library", parts 2 and 3, lay them out: big-endian throughout.

use std::path::{Path, PathBuf};

use super::device::Device;
use super::{TpmError, TpmErrorKind, TpmKey};

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// The hierarchy of the machine's owner, with an empty password unless somebody set one.
const OWNER: u32 = 0x4000_0001;
const NULL_HIERARCHY: u32 = 0x4000_0007;
/// The session that shows a password; here the empty one.
const PASSWORD: u32 = 0x4000_0009;

const CREATE_PRIMARY: u32 = 0x131;
const CREATE: u32 = 0x153;
const LOAD: u32 = 0x157;
const SIGN: u32 = 0x15D;
const FLUSH_CONTEXT: u32 = 0x165;

const RSA: u16 = 0x0001;
const AES: u16 = 0x0006;
const SHA256: u16 = 0x000B;
const NULL: u16 = 0x0010;
pub(super) const RSASSA: u16 = 0x0014;
pub(super) const RSAPSS: u16 = 0x0016;
const ECC: u16 = 0x0023;
const P256: u16 = 0x0003;
const CFB: u16 = 0x0043;
const HASHCHECK: u16 = 0x8024;

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA: made in this chip, and never to leave it.
const OF_THIS_CHIP: u32 = 0x0000_0472;
/// restricted, decrypt.
const STORAGE: u32 = 0x0003_0000;
const SIGNING: u32 = 0x0004_0000;

const BITS: u16 = 2048;
/// What an RSA key has where the template says 0.
const EXPONENT: u32 = 65_537;

/// An open chip.
#[derive(Debug)]
pub(super) struct Chip {
    device: Device,
    path: PathBuf,
}

/// A transient object in the chip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle(u32);

impl Chip {
    pub(super) fn open(path: &Path) -> Result<Self, TpmError> {
        match Device::open(path) {
            Ok(device) => Ok(Self { device, path: path.to_owned() }),
            Err(error) => {
                Err(TpmError { device: path.to_owned(), what: "sign", kind: TpmErrorKind::Io(error.kind()) })
            }
        }
    }

    /// The storage key of the owner: derived from the chip's seed and this template, so it is the same each time.
    pub(super) fn storage_key(&mut self) -> Result<Handle, TpmError> {
        let mut public = Bytes::default();
        public.u16(ECC).u16(SHA256).u32(OF_THIS_CHIP | STORAGE).sized(&[]);
        public.u16(AES).u16(128).u16(CFB).u16(NULL).u16(P256).u16(NULL).sized(&[]).sized(&[]);
        let mut command = Bytes::with_password(OWNER);
        command.no_sensitive_data().sized(&public.0).sized(&[]).u32(0);
        let what = "derive its storage key";
        self.handle(what, self.path.clone(), CREATE_PRIMARY, command)
    }

    pub(super) fn create_signing_key(&mut self, parent: Handle) -> Result<TpmKey, TpmError> {
        let mut public = Bytes::default();
        public.u16(RSA).u16(SHA256).u32(OF_THIS_CHIP | SIGNING).sized(&[]);
        public.u16(NULL).u16(NULL).u16(BITS).u32(0).sized(&[]);
        let mut command = Bytes::with_password(parent.0);
        command.no_sensitive_data().sized(&public.0).sized(&[]).u32(0);
        let what = "make a key";
        let answer = self.run(what, SESSIONS, CREATE, &command.0)?;
        let malformed = || self.error(what, TpmErrorKind::MalformedAnswer);
        let mut reader = Reader(answer.get(4..).ok_or_else(malformed)?);
        let private = reader.sized().ok_or_else(malformed)?.to_vec();
        let public = reader.sized().ok_or_else(malformed)?.to_vec();
        TpmKey::of(public, private).map_err(|_| self.error(what, TpmErrorKind::MalformedAnswer))
    }

    pub(super) fn load(&mut self, parent: Handle, private: &[u8], public: &[u8]) -> Result<Handle, TpmError> {
        let mut command = Bytes::with_password(parent.0);
        command.sized(private).sized(public);
        self.handle("load the key", self.path.clone(), LOAD, command)
    }

    pub(super) fn sign(&mut self, key: Handle, scheme: u16, digest: &[u8]) -> Result<Vec<u8>, TpmError> {
        let mut command = Bytes::with_password(key.0);
        command.sized(digest).u16(scheme).u16(SHA256);
        command.u16(HASHCHECK).u32(NULL_HIERARCHY).sized(&[]);
        let answer = self.run("sign", SESSIONS, SIGN, &command.0)?;
        let malformed = || self.error("sign", TpmErrorKind::MalformedAnswer);
        // Its length, the scheme and the hash stand before the signature.
        let mut reader = Reader(answer.get(8..).ok_or_else(malformed)?);
        reader.sized().map(<[u8]>::to_vec).ok_or_else(malformed)
    }

    /// Takes an object out of the chip's memory. The resource manager does so too when the device is closed.
    pub(super) fn flush(&mut self, handle: Handle) {
        let flushed = self.run("forget a key", NO_SESSIONS, FLUSH_CONTEXT, &handle.0.to_be_bytes());
        // What was done with it stands.
        drop(flushed);
    }

    fn handle(
        &mut self,
        what: &'static str,
        device: PathBuf,
        code: u32,
        command: Bytes,
    ) -> Result<Handle, TpmError> {
        let answer = self.run(what, SESSIONS, code, &command.0)?;
        let handle = Reader(&answer).u32().map(Handle);
        handle.ok_or(TpmError { device, what, kind: TpmErrorKind::MalformedAnswer })
    }

    /// The answer behind its header, when the chip did what was asked.
    fn run(&mut self, what: &'static str, tag: u16, code: u32, body: &[u8]) -> Result<Vec<u8>, TpmError> {
        let mut command = Bytes::default();
        let length = u32::try_from(body.len() + 10).expect("a command is short");
        command.u16(tag).u32(length).u32(code).0.extend_from_slice(body);
        let sent = self.device.transmit(&command.0);
        let answer = sent.map_err(|error| self.error(what, TpmErrorKind::Io(error.kind())))?;
        match Reader(&answer[6..]).u32() {
            Some(0) => Ok(answer[10..].to_vec()),
            Some(code) => Err(self.error(what, TpmErrorKind::Refused(code))),
            None => Err(self.error(what, TpmErrorKind::MalformedAnswer)),
        }
    }

    fn error(&self, what: &'static str, kind: TpmErrorKind) -> TpmError {
        TpmError { device: self.path.clone(), what, kind }
    }
}

#[derive(Debug, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// A handle, and the empty password for it.
    fn with_password(handle: u32) -> Self {
        let mut bytes = Self::default();
        // The session, no nonce, no attributes, the empty password: nine bytes.
        bytes.u32(handle).u32(9).u32(PASSWORD).u16(0);
        bytes.0.push(0);
        bytes.u16(0);
        bytes
    }
    /// `TPM2B_SENSITIVE_CREATE` without password and data: the chip makes the key.
    fn no_sensitive_data(&mut self) -> &mut Self {
        self.sized(&[0; 4])
    }
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    /// A `TPM2B`: two bytes of length, and the bytes.
    fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).expect("a buffer of a TPM is short"));
        self.0.extend_from_slice(bytes);
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
    fn sized(&mut self) -> Option<&'a [u8]> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }
}

/// `RSAPublicKey` in DER, of a `TPMT_PUBLIC` as [`Chip::create_signing_key`] has it made; `None` for any other.
pub(super) fn rsa_public_key(public: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(public);
    let is_ours = reader.u16()? == RSA && reader.u16()? == SHA256 && reader.u32()? == OF_THIS_CHIP | SIGNING;
    let (policy, symmetric, scheme) = (reader.sized()?, reader.u16()?, reader.u16()?);
    let (bits, exponent) = (reader.u16()?, reader.u32()?);
    let modulus = reader.sized()?;
    let is_whole = reader.0.is_empty() && modulus.len() == usize::from(BITS / 8) && modulus[0] & 0x80 != 0;
    if !is_ours || !policy.is_empty() || (symmetric, scheme, bits) != (NULL, NULL, BITS) || !is_whole {
        return None;
    }
    if ![0, EXPONENT].contains(&exponent) {
        return None;
    }
    // Two INTEGERs; the modulus has its highest bit set, so a zero goes before it.
    let mut content = vec![0x02, 0x82, 0x01, 0x01, 0x00];
    content.extend_from_slice(modulus);
    content.extend_from_slice(&[0x02, 0x03, 0x01, 0x00, 0x01]);
    let length = u16::try_from(content.len()).ok()?;
    Some([&[0x30, 0x82], length.to_be_bytes().as_slice(), &content].concat())
}
