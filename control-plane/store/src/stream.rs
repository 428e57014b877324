//! Long files and streams, written and read front to back with a hash over everything.
//!
//! A checkpoint and a backup end with a BLAKE3 hash of all bytes before it. Reading allocates for
//! what has really arrived, not for what a length claims, and knows at which byte it stands.

use std::io::{self, Read, Write};

use crate::filesystem::LogFile;

/// How many bytes the hash at the end has.
pub(crate) const TRAILER_SIZE: u64 = 32;

/// Hashes and counts what is written.
pub(crate) struct Output<'a> {
    inner: &'a mut dyn Write,
    hasher: blake3::Hasher,
    offset: u64,
}

/// Hashes and counts what is read.
pub(crate) struct Input<'a> {
    inner: &'a mut dyn Read,
    hasher: blake3::Hasher,
    offset: u64,
}

/// Why a stream cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It does not hold what was written.
    Damaged { offset: u64, what: &'static str },
    /// It cannot be read.
    Unreadable { offset: u64, source: io::Error },
}

/// Reads an open file from its beginning.
pub(crate) struct FileInput<'a> {
    file: &'a dyn LogFile,
    size: u64,
    offset: u64,
}

/// Writes to the end of an open file.
pub(crate) struct FileOutput<'a>(pub(crate) &'a mut dyn LogFile);

impl<'a> Output<'a> {
    pub(crate) fn new(inner: &'a mut dyn Write) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), offset: 0 }
    }

    /// Returns how many bytes were written.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes the hash of everything so far.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.inner.write_all(self.hasher.finalize().as_bytes())?;
        self.inner.flush()
    }
}

impl<'a> Input<'a> {
    pub(crate) fn new(inner: &'a mut dyn Read) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), offset: 0 }
    }

    /// Returns how many bytes were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads a fixed number of bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|source| self.fault(source))?;
        self.hasher.update(&bytes);
        self.offset += N as u64;
        Ok(bytes)
    }

    /// Reads a number of bytes that may be a lie.
    pub(crate) fn bytes(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let read = (&mut self.inner).take(size).read_to_end(&mut bytes);
        read.map_err(|source| self.fault(source))?;
        if (bytes.len() as u64) < size {
            return Err(self.damaged("it is cut short"));
        }
        self.hasher.update(&bytes);
        self.offset += size;
        Ok(bytes)
    }

    /// Reads the hash of everything so far, and that nothing follows it.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        let expected = self.hasher.finalize();
        let found: [u8; TRAILER_SIZE as usize] = self.array()?;
        if expected != found {
            return Err(Fault::Damaged {
                offset: self.offset - TRAILER_SIZE,
                what: "it does not match the hash at its end",
            });
        }
        let mut more = [0; 1];
        match self.inner.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(source) => Err(self.fault(source)),
        }
    }

    /// Builds the fault for what is wrong where the reading stands.
    pub(crate) fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged { offset: self.offset, what }
    }

    fn fault(&self, source: io::Error) -> Fault {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.damaged("it is cut short");
        }
        Fault::Unreadable { offset: self.offset, source }
    }
}

impl<'a> FileInput<'a> {
    pub(crate) fn new(file: &'a dyn LogFile) -> io::Result<Self> {
        Ok(Self { file, size: file.size()?, offset: 0 })
    }
}

impl Read for FileInput<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.offset);
        let count = left.min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..count], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Write for FileOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
