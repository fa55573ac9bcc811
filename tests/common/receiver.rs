//! An HTTP receiver on a port of its own, which tells its test what was posted to it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub content_type: String,
    pub body: String,
}

/// A status and a body, what that is, and where a redirect leads.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub content_type: Option<String>,
    pub location: Option<String>,
}

impl Answer {
    pub fn of(status: u16) -> Self {
        Answer { status, ..Answer::default() }
    }
}

/// Ends when it is dropped.
pub struct Receiver {
    pub url: String,
    posted: mpsc::UnboundedReceiver<Posted>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Answers each request as `answer` says.
    pub async fn start(answer: impl Fn(&Posted) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (tell, posted) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                    async move {
                        let posted = read(request).await;
                        let Answer { status, body, content_type, location } = answer(&posted);
                        // The test may have seen enough.
                        let _ = tell.send(posted);
                        let mut response = Response::builder().status(status);
                        if let Some(location) = location {
                            response = response.header("location", location);
                        }
                        if let Some(content_type) = content_type {
                            response = response.header("content-type", content_type);
                        }
                        response.body(body)
                    }
                });
                open.spawn(async move {
                    // Whoever asked may have gone away.
                    let connection = http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Receiver { url, posted, _serving: serving }
    }

    /// What is posted next.
    pub async fn next(&mut self) -> Posted {
        self.posted.recv().await.expect("it runs")
    }

    /// What was posted and not asked for yet.
    pub fn rest(&mut self) -> Vec<Posted> {
        std::iter::from_fn(|| self.posted.try_recv().ok()).collect()
    }
}

async fn read(request: Request<Incoming>) -> Posted {
    let path = request.uri().path().to_owned();
    let content_type = request.headers().get("content-type");
    let content_type = content_type.map(|value| value.to_str().expect("text").to_owned());
    let mut body = std::pin::pin!(request.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let data: Bytes = frame.expect("read").into_data().unwrap_or_default();
        bytes.extend(data);
    }
    let body = String::from_utf8(bytes).expect("text");
    Posted { path, content_type: content_type.unwrap_or_default(), body }
}
