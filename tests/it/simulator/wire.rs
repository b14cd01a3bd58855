//! A plain client of the simulator.

use serde_json::{Value, json};

/// A plain client: no retries, no cleverness.
#[derive(Clone)]
pub struct Wire {
    http: reqwest::Client,
    url: String,
    pub bearer: String,
    pub refresh: String,
}

pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub fn new(url: &str) -> Self {
        // Fails when another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            http,
            url: url.to_owned(),
            bearer: String::new(),
            refresh: String::new(),
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Reply> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .bearer_auth(&self.bearer)
            .body(body);
        Self::reply(request).await
    }

    pub async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply {
            status,
            headers,
            body: response.bytes().await?.to_vec(),
        })
    }

    pub async fn call(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.send(method, path, body).await.expect("an answer")
    }

    pub async fn login(&mut self) {
        let reply = self.authenticate("dig@geo.tab", "secret").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        self.take_tokens(&reply);
    }

    pub fn take_tokens(&mut self, reply: &Reply) {
        let body = reply.json();
        let token = |name: &str| {
            body["Data"][name]["TokenString"]
                .as_str()
                .expect("a token")
                .to_owned()
        };
        (self.bearer, self.refresh) = (token("BearerToken"), token("RefreshToken"));
    }

    pub async fn authenticate(&self, username: &str, password: &str) -> Reply {
        let body = json!({"Username": username, "Password": password}).to_string();
        self.call("POST", "/authentication/authenticate", body)
            .await
    }

    pub async fn tokens(&self, operation: &str) -> Reply {
        let body = json!({"BearerToken": self.bearer, "RefreshToken": self.refresh}).to_string();
        self.call("POST", &format!("/authentication/{operation}"), body)
            .await
    }

    pub async fn post(&self, records: &[Value]) -> Reply {
        self.call(
            "POST",
            "/records",
            Value::from(records.to_vec()).to_string(),
        )
        .await
    }

    pub async fn try_post(&self, records: &[Value]) -> reqwest::Result<Reply> {
        self.send(
            "POST",
            "/records",
            Value::from(records.to_vec()).to_string(),
        )
        .await
    }
}
