//! A server that lies to auditors: it passes on what a real one answers, but for what it shows of the log.

use std::pin::Pin;
use std::sync::Arc;

use keyledger::proto::v1::audit_service_server::{AuditService, AuditServiceServer};
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{self, AuditEvent, StreamEventsRequest, StreamEventsResponse};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::Client;

/// What it makes of a log.
pub(crate) type Lie = fn(&mut Vec<AuditEvent>);

/// What it shows of a log.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    /// All events, after this was done to them.
    All(Lie),
    /// So many events, and then the connection is lost.
    Lost(usize),
    /// So many events, and then nothing any more.
    Silent(usize),
}

pub(crate) struct Liar {
    truth: Client,
    shown: Shown,
    silent: Arc<Notify>,
}

impl Liar {
    /// Serves; answers its address, and what tells that it has fallen silent.
    pub(crate) async fn serve(truth: Client, shown: Shown) -> (String, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let silent = Arc::new(Notify::new());
        let liar = Liar { truth, shown, silent: Arc::clone(&silent) };
        let server = tonic::transport::Server::builder().add_service(AuditServiceServer::new(liar));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (address, silent)
    }

    /// All events that fit, and the position up to which they do.
    async fn events(&self, ask: StreamEventsRequest) -> Result<(Vec<AuditEvent>, u64), Status> {
        let mut answers = self.truth.audit.clone().stream_events(ask).await?.into_inner();
        let (mut events, mut reached) = (Vec::new(), 0);
        while let Some(answer) = answers.message().await? {
            match answer.answer.expect("an answer") {
                Answer::Event(event) => {
                    reached = event.position;
                    events.push(*event);
                }
                Answer::Progress(progress) => reached = progress.position,
                Answer::Heartbeat(_) => panic!("it does not follow"),
            }
        }
        Ok((events, reached))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AuditService for Liar {
    type StreamEventsStream = Answers;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Answers>, Status> {
        let (mut events, reached) = self.events(request.into_inner()).await?;
        let count = match self.shown {
            Shown::All(lie) => {
                lie(&mut events);
                events.len()
            }
            Shown::Lost(count) | Shown::Silent(count) => count,
        };
        let (sender, receiver) = mpsc::channel(1);
        let (shown, silent) = (self.shown, Arc::clone(&self.silent));
        tokio::spawn(async move {
            let say = async |answer: Answer| {
                let answer = StreamEventsResponse { answer: Some(answer) };
                let _ = sender.send(Ok(answer)).await;
            };
            for event in events.into_iter().take(count) {
                say(Answer::Event(Box::new(event))).await;
            }
            match shown {
                Shown::All(_) => say(Answer::Progress(v1::Progress { position: reached })).await,
                Shown::Lost(_) => drop(sender.send(Err(Status::unavailable("lost"))).await),
                Shown::Silent(_) => {
                    silent.notify_one();
                    sender.closed().await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        self.truth.audit.clone().get_checkpoint(request.into_inner()).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        self.truth.audit.clone().get_inclusion_proof(request.into_inner()).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        self.truth.audit.clone().get_consistency_proof(request.into_inner()).await
    }

    async fn get_key_timeline(
        &self,
        _: Request<v1::GetKeyTimelineRequest>,
    ) -> Result<Response<v1::GetKeyTimelineResponse>, Status> {
        Err(Status::internal("not asked for"))
    }

    async fn get_key_at(
        &self,
        _: Request<v1::GetKeyAtRequest>,
    ) -> Result<Response<v1::GetKeyAtResponse>, Status> {
        Err(Status::internal("not asked for"))
    }

    async fn get_account_at(
        &self,
        _: Request<v1::GetAccountAtRequest>,
    ) -> Result<Response<v1::GetAccountAtResponse>, Status> {
        Err(Status::internal("not asked for"))
    }

    async fn get_verifier_key(
        &self,
        _: Request<v1::GetVerifierKeyRequest>,
    ) -> Result<Response<v1::GetVerifierKeyResponse>, Status> {
        Err(Status::internal("not asked for"))
    }
}
