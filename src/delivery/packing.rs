//! Compression of a file while it is written: what is kept in memory does not grow with the file.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;

use flate2::write::GzEncoder;
use snap::raw::Encoder as SnappyBlock;
use snap::write::FrameEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::form::Packing;

/// Bytes of one block of Hadoop's framing, before compression (`io.compression.codec.snappy.buffersize`).
const HADOOP_BLOCK_BYTES: usize = 256 * 1024;

type Out = BufWriter<File>;

/// Where the bytes of a file go.
pub(super) enum Packer {
    Plain(Out),
    Gzip(Box<GzEncoder<Out>>),
    Zip(Box<ZipWriter<Out>>),
    Snappy(Box<FrameEncoder<Out>>),
    Hadoop(Box<HadoopSnappy>),
    Zstd(Box<ZstdEncoder<'static, Out>>),
}

impl Packer {
    /// Packs into `file`; `inside` is the name of the one file that a zip has.
    pub(super) fn new(packing: Packing, file: File, inside: &str) -> io::Result<Packer> {
        let out = BufWriter::with_capacity(64 * 1024, file);
        Ok(match packing {
            Packing::None => Packer::Plain(out),
            // No time in the header: the same entries give the same bytes.
            Packing::Gzip => {
                Packer::Gzip(Box::new(GzEncoder::new(out, flate2::Compression::default())))
            }
            Packing::Zip => {
                let mut zip = ZipWriter::new(out);
                // A file of 128 MiB and more of records fits 32 bits, but what does not must not end badly.
                let options = SimpleFileOptions::default().large_file(true);
                zip.start_file(inside, options).map_err(io::Error::other)?;
                Packer::Zip(Box::new(zip))
            }
            Packing::Snappy => Packer::Snappy(Box::new(FrameEncoder::new(out))),
            Packing::HadoopSnappy => Packer::Hadoop(Box::new(HadoopSnappy::new(out))),
            Packing::Zstd => Packer::Zstd(Box::new(ZstdEncoder::new(out, 0)?)),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Packer::Plain(out) => out.write_all(bytes),
            Packer::Gzip(out) => out.write_all(bytes),
            Packer::Zip(out) => out.write_all(bytes),
            Packer::Snappy(out) => out.write_all(bytes),
            Packer::Hadoop(out) => out.write(bytes),
            Packer::Zstd(out) => out.write_all(bytes),
        }
    }

    /// Writes all that is held; answers the file.
    pub(super) fn finish(self) -> io::Result<File> {
        let mut out = match self {
            Packer::Plain(out) => out,
            Packer::Gzip(out) => out.finish()?,
            Packer::Zip(out) => out.finish().map_err(io::Error::other)?,
            Packer::Snappy(mut out) => {
                out.flush()?;
                out.into_inner().map_err(|error| io::Error::other(error.to_string()))?
            }
            Packer::Hadoop(out) => out.finish()?,
            Packer::Zstd(out) => out.finish()?,
        };
        out.flush()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Snappy in the framing of Hadoop's `SnappyCodec`: blocks of bytes before compression, big endian, then
/// the bytes of the compressed block, and the block.
pub(super) struct HadoopSnappy {
    out: Out,
    block: Vec<u8>,
    packed: Vec<u8>,
}

impl HadoopSnappy {
    fn new(out: Out) -> HadoopSnappy {
        let packed = vec![0; snap::raw::max_compress_len(HADOOP_BLOCK_BYTES)];
        HadoopSnappy { out, block: Vec::with_capacity(HADOOP_BLOCK_BYTES), packed }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = HADOOP_BLOCK_BYTES - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == HADOOP_BLOCK_BYTES {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        let packed = SnappyBlock::new().compress(&self.block, &mut self.packed)?;
        for length in [self.block.len(), packed] {
            let length = u32::try_from(length).expect("a block has less than 4 GiB");
            self.out.write_all(&length.to_be_bytes())?;
        }
        self.out.write_all(&self.packed[..packed])?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Out> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        Ok(self.out)
    }
}
