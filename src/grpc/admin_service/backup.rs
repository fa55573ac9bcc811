//! Backup.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Status};

use crate::app::App;
use crate::app::backup::{BackupFile, Have, Part};
use crate::app::error::AppError;
use crate::domain::ids::Position;
use crate::grpc::call::identity;
use crate::grpc::long_calls::LongCalls;
use crate::grpc::status;
use crate::merkle::Hash;
use crate::proto::v1::backup_response::Part as WirePart;
use crate::proto::v1::{
    self, BackupEnd, BackupFileEnd, BackupFileKind, BackupHead, BackupRequest, BackupResponse,
};

/// The version of this form of backup.
const FORMAT: u32 = 1;

/// The stream of a backup.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<BackupResponse, Status>> + Send>>;

pub(super) async fn handle(
    app: &Arc<App>,
    request: Request<BackupRequest>,
) -> Result<Parts, AppError> {
    let identity = identity(&request)?;
    // The connection is not cut for its age while this goes on.
    let long_call = request.extensions().get::<LongCalls>().map(LongCalls::begin);
    let have = read(request.get_ref())?;
    let parts = app.backup(&identity, have).await?;
    Ok(Box::pin(ReceiverStream::new(parts).map(move |part| {
        let _lasts_as_long_as_the_stream = &long_call;
        part.map(answer).map_err(|error| status::of(&error, None))
    })))
}

fn read(request: &BackupRequest) -> Result<Have, AppError> {
    let root = <[u8; 32]>::try_from(request.known_root.as_slice()).map(Hash);
    let head = match (Position::new(request.known_head), root) {
        (None, _) if request.known_root.is_empty() => None,
        (Some(position), Ok(root)) => Some((position, root)),
        _ => {
            let must = "must be the 32 bytes of the root at known_head, and empty if that is 0";
            return Err(AppError::field("known_root", must));
        }
    };
    if head.is_none() && request.after_volume > 0 {
        return Err(AppError::field("after_volume", "must be 0 if known_head is 0"));
    }
    Ok(Have { after_volume: request.after_volume, head })
}

fn answer(part: Part) -> BackupResponse {
    let part = match part {
        Part::Head(head) => WirePart::Head(BackupHead {
            format: FORMAT,
            origin: head.origin.0.to_vec(),
            generation: head.generation,
            position: head.position.get(),
            root: head.root.0.to_vec(),
            volumes: head.volumes,
            volume_bytes: head.volume_bytes,
        }),
        Part::File(file) => WirePart::File(file_of(&file)),
        Part::Data(bytes) => WirePart::Data(bytes),
        Part::FileEnd(sha256) => WirePart::FileEnd(BackupFileEnd { sha256: sha256.to_vec() }),
        Part::End { files, bytes } => WirePart::End(BackupEnd { files, bytes }),
    };
    BackupResponse { part: Some(part) }
}

fn file_of(file: &BackupFile) -> v1::BackupFile {
    let (kind, volume, included) = match file {
        BackupFile::Volume(volume, included) => (BackupFileKind::Volume, volume, *included),
        BackupFile::Tail(tail) => (BackupFileKind::Tail, tail, true),
        BackupFile::DataKeys(size) => {
            let kind = BackupFileKind::DataKeys.into();
            return v1::BackupFile { kind, size: *size, included: true, ..Default::default() };
        }
    };
    v1::BackupFile {
        kind: kind.into(),
        number: volume.number,
        first: volume.first.get(),
        last: volume.last.get(),
        root: volume.root.0.to_vec(),
        size: volume.bytes,
        included,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(after_volume: u64, known_head: u64, root: usize) -> Result<Have, AppError> {
        read(&BackupRequest { after_volume, known_head, known_root: vec![7; root] })
    }

    #[test]
    fn what_is_there_is_named_by_head_and_root_together() {
        let none = asked(0, 0, 0).expect("nothing is there");
        assert!(none.head.is_none() && none.after_volume == 0);
        let some = asked(3, 9, 32).expect("a backup is there");
        assert_eq!((some.head, some.after_volume), (Position::new(9).zip(Some(Hash([7; 32]))), 3));
        for (after, head, root, field) in [
            (0, 9, 0, "known_root"),
            (0, 9, 31, "known_root"),
            (0, 0, 32, "known_root"),
            (1, 0, 0, "after_volume"),
        ] {
            let Err(AppError::Invalid(found)) = asked(after, head, root) else { panic!("{field}") };
            assert_eq!(found[0].field, field);
        }
    }
}
