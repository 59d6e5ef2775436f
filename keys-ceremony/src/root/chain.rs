//! The chain of roots, as a device walks it.

use tuffet_client::limits::{DEVICE, Limits, ROOT};
use tuffet_client::{Clock, SOFTWARE, Trusted};

use super::Root;
use crate::metadata::{Envelope, Role};
use crate::{Error, Rejected, canonical};

/// Root files from version 1 on, each verified under its predecessor and itself.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    files: Vec<Vec<u8>>,
    first_payload: Vec<u8>,
    trusted: Option<Trusted>,
    roots: Vec<Root>,
}

impl Chain {
    /// Verifies root files in the order of their versions, the first of them version 1.
    ///
    /// # Errors
    /// [`Rejected::BrokenChain`], or what is wrong with a root in itself.
    pub fn verify(files: &[Vec<u8>]) -> Result<Chain, Error> {
        let mut chain = Chain::default();
        for (file, version) in files.iter().zip(1..) {
            chain.push(file, version).map_err(|error| error.at(format!("root version {version}")))?;
        }
        Ok(chain)
    }

    /// The verifier of the devices judges (TUF 5.3.4 and 5.3.5); here the file is only decoded.
    fn push(&mut self, file: &[u8], version: u32) -> Result<(), Error> {
        // Before anybody spends time on it.
        if file.len() as u64 > DEVICE.root_file.into() {
            let why = format!("it has {} bytes, and devices read {}", file.len(), DEVICE.root_file);
            return Err(Rejected::BrokenChain { version, why }.into());
        }
        let Envelope { signed, .. } = Envelope::parse(file)?;
        let root = Root::from_published(&signed)?;
        if root.header.version != version {
            let why = format!("version {} stands in its place", root.header.version);
            return Err(Rejected::BrokenChain { version, why }.into());
        }
        let memory = &mut [0; DEVICE.memory()];
        let judged = match &mut self.trusted {
            None => Trusted::from_root_file(&SOFTWARE, &DEVICE, memory, file)
                .map(|first| self.trusted = Some(first)),
            Some(trusted) => trusted.next_root_file(&SOFTWARE, &DEVICE, memory, file),
        };
        judged.map_err(|error| Rejected::BrokenChain { version, why: error.to_string() })?;
        if self.files.is_empty() {
            self.first_payload = canonical::signed_bytes(&signed)?;
        }
        self.files.push(file.to_vec());
        self.roots.push(root);
        Ok(())
    }

    /// Whether a device that trusts this chain takes `file` for metadata of `role`; for a root, as its next
    /// one. The devices' verifier judges, and it alone counts signatures. Dates are not judged.
    ///
    /// # Errors
    /// What the verifier says.
    pub fn accepts(&self, role: &Role, file: &[u8]) -> Result<(), tuffet_client::Error> {
        self.accepts_within(&DEVICE, role, file)
    }

    /// The same for a device with these limits.
    pub(crate) fn accepts_within(
        &self,
        limits: &Limits,
        role: &Role,
        file: &[u8],
    ) -> Result<(), tuffet_client::Error> {
        let memory = &mut vec![0; limits.memory()];
        match &self.trusted {
            // A file of another role is no first root.
            None => Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, limits, memory, file).map(drop),
            Some(trusted) => trusted.accepts_file(&SOFTWARE, limits, memory, role.of_device(), file),
        }
    }

    /// What time it is at the least for a device that trusts this chain, when it is `now`; both in seconds since
    /// 1970-01-01 UTC.
    pub(crate) fn start_time(&self, now: u64) -> u64 {
        self.trusted.as_ref().map_or(now, |trusted| trusted.start_time(Clock::At(now)))
    }

    /// The files as they came.
    pub fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// What they say, from version 1 on.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The newest root; none in an empty chain.
    pub fn last(&self) -> Option<&Root> {
        self.roots.last()
    }

    /// The signed bytes of root 1, whose digest names the repository; none in an empty chain.
    pub fn first_payload(&self) -> Option<&[u8]> {
        (!self.files.is_empty()).then_some(&self.first_payload)
    }
}
