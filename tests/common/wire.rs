//! Calls of any RPC by its path, and what is answered, byte for byte.

use bytes::{Buf as _, BufMut as _};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// What a call was answered: all that a client can see of it but the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: Code,
    pub message: String,
    pub details: Vec<u8>,
    pub metadata: Vec<(String, String)>,
    /// The first message.
    pub first: Option<Vec<u8>>,
}

impl Answer {
    fn with(first: Option<Vec<u8>>) -> Self {
        let (message, details, metadata) = (String::new(), Vec::new(), Vec::new());
        Answer { code: Code::Ok, message, details, metadata, first }
    }

    /// The reason of its status; empty if it has none.
    pub fn reason(&self) -> String {
        use tonic_types::StatusExt as _;
        let details = self.details.clone().into();
        let status = Status::with_details(self.code, self.message.clone(), details);
        status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        let named = |name: &str, value: &[u8]| (name.to_owned(), format!("{value:?}"));
        let headers = status.metadata().clone().into_headers();
        let mut metadata: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| named(name.as_str(), value.as_bytes()))
            .collect();
        metadata.sort();
        Answer {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
            metadata,
            first: None,
        }
    }
}

/// Calls an RPC with some messages and lets the answers come.
pub async fn open(
    channel: &Channel,
    path: &'static str,
    credential: Option<&str>,
    messages: impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static,
) -> Result<Streaming<Vec<u8>>, Status> {
    let mut request = Request::new(messages);
    if let Some(credential) = credential {
        let value = format!("Bearer {credential}").parse().expect("ascii");
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("ready");
    let path = http::uri::PathAndQuery::from_static(path);
    client.streaming(request, path, Raw).await.map(tonic::Response::into_inner)
}

/// Calls an RPC with one message and waits until all is answered.
pub async fn call(
    channel: &Channel,
    path: &'static str,
    credential: Option<&str>,
    message: Vec<u8>,
) -> Answer {
    let answered = async {
        let messages = tokio_stream::once(message);
        let mut answers = open(channel, path, credential, messages).await?;
        let first = answers.message().await?;
        while answers.message().await?.is_some() {}
        Ok(Answer::with(first))
    };
    answered.await.unwrap_or_else(|status: Status| status.into())
}

/// As [`call`], of an RPC whose answers do not end: takes the first.
pub async fn first(
    channel: &Channel,
    path: &'static str,
    credential: Option<&str>,
    message: Vec<u8>,
) -> Answer {
    match open(channel, path, credential, tokio_stream::once(message)).await {
        Ok(mut answers) => answers.message().await.map_or_else(Answer::from, Answer::with),
        Err(status) => status.into(),
    }
}
