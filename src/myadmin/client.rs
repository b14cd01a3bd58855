//! Every call we make to MyAdmin, typed: sessions, attempts and pages are dealt with here.
//!
//! Calls that change nothing are asked again within `read_attempts` and `patience_s`. A call that changes something is
//! made once; only a rejected session (nothing was looked at) permits a second one, and never for provisioning (P1), which has a
//! way of its own: first a [`Permit`], then the call.
//! Cancelled, a call that changes something may have had effects. No queue; cheap to clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::Config;
use super::error::{Error, Kind, Why};
use super::exchange::{Exchange, RestAnswer, RestCall, RpcCall};
use super::methods::{Method, Version};
use super::paging::{Pager, Style, Turn};
use super::retries::Retries;
use super::roles::{Needs, Report};
use super::rpc::Answer;
use super::session::{Session, SessionTicket, Status};
use super::wire::{
    self, ContractFilter, DeviceContract, DeviceDatabase, DeviceLookup, PartnerDevice,
    ProvisionCall, Provisioning, User,
};
use crate::ops::metrics::myadmin as metrics;

/// See the module.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub exchange: Arc<Exchange>,
    session: Session,
    /// Per method: it was found under the other version.
    switched: [AtomicBool; Method::ALL.len()],
    /// Orders have no address of their own.
    pub no_single_order: AtomicBool,
}

/// The right to make one provisioning call at once: a session, and a place in the rate limits that is spent.
pub struct Permit {
    ticket: Arc<SessionTicket>,
    version: Version,
}

/// One call of either surface.
enum Call<'a> {
    Rpc(&'a RpcCall),
    Rest(&'a RestCall),
}

enum Answered {
    Rpc(Answer),
    Rest(RestAnswer),
}

impl Call<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Rpc(call) => call.method,
            Self::Rest(call) => call.method,
        }
    }
}

impl Client {
    /// Makes no call yet: the first one logs in.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        config.check()?;
        let exchange = Arc::new(Exchange::new(config)?);
        let session = Session::new(Arc::clone(&exchange));
        Ok(Self {
            inner: Arc::new(Inner {
                exchange,
                session,
                switched: Default::default(),
                no_single_order: AtomicBool::new(false),
            }),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.inner.exchange.config
    }

    /// What operators see of the session.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.session.status()
    }

    /// Makes a call with a session, again where that is safe.
    async fn make(&self, call: Call<'_>) -> Result<Answered, Error> {
        let method = call.method();
        let mut retries = Retries::new(self.config());
        let mut renewed = false;
        loop {
            let ticket = self.inner.session.ticket(method).await?;
            let answered = self.once(&call, &ticket).await;
            metrics::count_call(
                method.name(),
                answered.as_ref().err().map_or("ok", Error::outcome),
            );
            let failed = match answered {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            if failed.session_rejected() {
                self.inner.session.rejected(&ticket);
                if renewed {
                    return Err(failed);
                }
                renewed = true;
            } else if method.changes() || !failed.retryable() {
                return Err(failed);
            } else {
                retries.wait(failed).await?;
            }
        }
    }

    async fn once(&self, call: &Call<'_>, ticket: &SessionTicket) -> Result<Answered, Error> {
        let exchange = &self.inner.exchange;
        match call {
            Call::Rpc(call) => exchange
                .rpc(call, Some(&ticket.keys))
                .await
                .map(Answered::Rpc),
            Call::Rest(call) => exchange.rest(call, &ticket.keys).await.map(Answered::Rest),
        }
    }

    /// A JSON-RPC call, under the version that serves it.
    async fn rpc(&self, method: Method, params: Map<String, Value>) -> Result<Answer, Error> {
        let switched = &self.inner.switched[method.index()];
        let mut call = RpcCall {
            method,
            version: self.version(method),
            params,
            pagination: None,
        };
        let failed = match self.make_rpc(&call).await {
            Err(failed) if self.may_switch(&failed, method) => failed,
            answered => return answered,
        };
        let other = call.version.other();
        tracing::warn!(error = %failed, method = %method, version = other.name(), "trying the other version of MyAdmin's API: set [myadmin.versions]");
        call.version = other;
        let answer = self.make_rpc(&call).await?;
        switched.fetch_xor(true, Ordering::Relaxed);
        Ok(answer)
    }

    async fn make_rpc(&self, call: &RpcCall) -> Result<Answer, Error> {
        match self.make(Call::Rpc(call)).await? {
            Answered::Rpc(answer) => Ok(answer),
            // The answer is of the call's surface.
            Answered::Rest(_) => Ok(Answer::default()),
        }
    }

    /// Never twice for what may have had effects.
    fn may_switch(&self, failed: &Error, method: Method) -> bool {
        self.config().version_fallback && failed.kind() == Some(Kind::Version) && !method.changes()
    }

    fn version(&self, method: Method) -> Version {
        let version = self.config().versions.of(method);
        if self.inner.switched[method.index()].load(Ordering::Relaxed) {
            version.other()
        } else {
            version
        }
    }

    pub(super) async fn rest(&self, call: &RestCall) -> Result<RestAnswer, Error> {
        match self.make(Call::Rest(call)).await? {
            Answered::Rest(answer) => Ok(answer),
            // The answer is of the call's surface.
            Answered::Rpc(_) => Ok(RestAnswer::default()),
        }
    }

    /// The account we are logged in with, logging in if need be.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn user(&self) -> Result<User, Error> {
        let ticket = self.inner.session.ticket(Method::Authenticate).await?;
        Ok(ticket.user.clone())
    }

    /// Which roles the account has, and which are missing for what is needed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn report(&self, needs: Needs) -> Result<Report, Error> {
        Ok(Report::new(&self.user().await?, needs))
    }

    /// Makes one device: [`Client::provision_permit`], then [`Client::provision_permitted`].
    ///
    /// # Errors
    /// See [`Error`]; [`Error::may_have_effects`] is true whenever the device may have been made.
    pub async fn provision(&self, device: &ProvisionCall) -> Result<Provisioning, Error> {
        has_account(device)?;
        let permit = self.provision_permit().await?;
        self.provision_permitted(device, permit).await
    }

    /// Waits until a provisioning call may leave at once: logged in, past our rate limits and past the pause that a 429 asked for.
    /// Whoever provisions writes its intent after this and before [`Client::provision_permitted`]: a process that is killed while it
    /// waits here has sent nothing. Dropped, it has spent its place in the rate limits and nothing else.
    ///
    /// # Errors
    /// See [`Error`]; none of them may have had effects.
    pub async fn provision_permit(&self) -> Result<Permit, Error> {
        const METHOD: Method = Method::Provision;
        let ticket = self.inner.session.ticket(METHOD).await?;
        let version = self.version(METHOD);
        self.inner.exchange.permit(METHOD, version).await?;
        Ok(Permit { ticket, version })
    }

    /// Makes one device, at once: it waits for nothing but the answer. One call leaves this process at most, whatever becomes of it
    /// (P1): the caller has written down that it will, and a failure that may have had effects is to be reconciled, never repeated.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::may_have_effects`] is true whenever the device may have been made.
    pub async fn provision_permitted(
        &self,
        device: &ProvisionCall,
        permit: Permit,
    ) -> Result<Provisioning, Error> {
        const METHOD: Method = Method::Provision;
        has_account(device)?;
        let mut params = Map::new();
        params.insert("productId".to_owned(), device.product_id.into());
        params.insert("erpNo".to_owned(), device.erp_no.trim().into());
        if let Some(hardware_id) = device.hardware_id {
            params.insert("hardwareId".to_owned(), hardware_id.into());
        }
        for (name, value) in [
            ("promoCode", &device.promo_code),
            ("subPlan", &device.sub_plan),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                params.insert(name.to_owned(), value.into());
            }
        }
        let Permit { ticket, version } = permit;
        let call = RpcCall {
            method: METHOD,
            version,
            params,
            pagination: None,
        };
        let exchange = &self.inner.exchange;
        let answer = exchange.rpc_permitted(&call, Some(&ticket.keys)).await;
        let outcome = answer.as_ref().err().map_or("ok", Error::outcome);
        metrics::count_call(METHOD.name(), outcome);
        if answer.as_ref().is_err_and(Error::session_rejected) {
            // P1: whoever provisions writes down every call it makes, so a second one is not ours to make.
            self.inner.session.rejected(&ticket);
        }
        wire::provisioning(answer?.result).map_err(|why| unreadable(METHOD, why))
    }

    /// The devices we produced and the database each is connected to.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn partner_devices(&self) -> Result<Vec<PartnerDevice>, Error> {
        const METHOD: Method = Method::PartnerDevices;
        let answer = self.rpc(METHOD, Map::new()).await?;
        Ok(read_all(
            METHOD,
            rows(METHOD, answer)?,
            wire::partner_device,
        ))
    }

    /// Which database each of these devices is assigned to. A serial that is not in the answer is assigned to none (U17).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn databases(&self, serials: &[String]) -> Result<Vec<DeviceDatabase>, Error> {
        const METHOD: Method = Method::DeviceDatabases;
        let mut found = Vec::with_capacity(serials.len());
        for some in serials.chunks(self.config().serials_per_call) {
            let mut params = Map::new();
            params.insert("serialNumbers".to_owned(), some.into());
            let answer = self.rpc(METHOD, params).await?;
            found.extend(read_all(
                METHOD,
                rows(METHOD, answer)?,
                wire::device_database,
            ));
        }
        Ok(found)
    }

    /// What MyAdmin knows of a serial; `None` for one that it does not know.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lookup_device(&self, serial: &str) -> Result<Option<DeviceLookup>, Error> {
        const METHOD: Method = Method::LookupDevice;
        let mut params = Map::new();
        params.insert("serialNo".to_owned(), serial.into());
        let answer = self.rpc(METHOD, params).await?;
        let read = |value| wire::device_lookup(value).map_err(|why| unreadable(METHOD, why));
        answer.result.map(read).transpose()
    }

    /// Contracts of an account: by `GetDeviceContracts` under v3, by `GetDeviceContractsByPage` where the settings say v2.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn device_contracts(
        &self,
        filter: &ContractFilter,
    ) -> Result<Vec<DeviceContract>, Error> {
        let switched = &self.inner.switched[Method::Contracts.index()];
        let whole = (Method::Contracts, Version::V3);
        let by_page = (
            Method::ContractsByPage,
            self.version(Method::ContractsByPage),
        );
        let (first, second) = match self.version(Method::Contracts) {
            Version::V3 => (whole, by_page),
            Version::V2 => (by_page, whole),
        };
        match self.contracts_by(first, filter).await {
            Err(failed)
                if failed.kind() == Some(Kind::Version) && self.config().version_fallback =>
            {
                tracing::warn!(error = %failed, method = %second.0, "trying the other method for contracts: set [myadmin.versions]");
                let found = self.contracts_by(second, filter).await?;
                switched.fetch_xor(true, Ordering::Relaxed);
                Ok(found)
            }
            found => found,
        }
    }

    async fn contracts_by(
        &self,
        (method, version): (Method, Version),
        filter: &ContractFilter,
    ) -> Result<Vec<DeviceContract>, Error> {
        let config = self.config();
        let mut pager = match method {
            Method::Contracts => Pager::by(config.contracts_paging, config.page_size),
            _ => Pager::by_next_id(),
        };
        let mut params = contract_params(filter);
        loop {
            let pagination = pager.ask(&mut params);
            let call = RpcCall {
                method,
                version,
                params: params.clone(),
                pagination,
            };
            let mut answer = self.make_rpc(&call).await?;
            let said = answer.pagination.take();
            if pager.turn(rows(method, answer)?, said.as_ref()) == Turn::Last {
                break;
            }
        }
        Ok(read_all(method, pager.rows(), wire::device_contract))
    }

    pub(super) fn rest_pager(&self, style: Style) -> Pager {
        Pager::by(style, self.config().page_size)
    }
}

fn has_account(device: &ProvisionCall) -> Result<(), Error> {
    if device.erp_no.trim().is_empty() {
        let why = "no account to provision for: the device would land on our own (U12)";
        return Err(failed(Method::Provision, Why::Unusable(why.to_owned())));
    }
    Ok(())
}

fn contract_params(filter: &ContractFilter) -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("forAccount".to_owned(), filter.for_account.as_str().into());
    if let Some(window) = filter.window {
        params.insert(
            "fromDate".to_owned(),
            format!("{}T00:00:00Z", window.from).into(),
        );
        params.insert(
            "toDate".to_owned(),
            format!("{}T23:59:59Z", window.to).into(),
        );
    }
    if !filter.serials.is_empty() {
        params.insert("serialNos".to_owned(), filter.serials.as_slice().into());
    }
    if let Some(order) = &filter.purchase_order {
        params.insert("purchaseOrderFilter".to_owned(), order.as_str().into());
    }
    for (name, on) in [
        ("showShelfStockOnly", filter.shelf_stock_only),
        ("showNoDatabaseOnly", filter.no_database_only),
    ] {
        if on {
            params.insert(name.to_owned(), true.into());
        }
    }
    params
}

pub(super) fn failed(method: Method, why: Why) -> Error {
    Error {
        act: method.name(),
        changes: method.changes(),
        why,
    }
}

pub(super) fn unreadable(method: Method, why: String) -> Error {
    failed(method, Why::Unreadable { status: 200, why })
}

/// The rows of a result; no result is none.
fn rows(method: Method, answer: Answer) -> Result<Vec<Value>, Error> {
    match answer.result {
        None => Ok(Vec::new()),
        Some(Value::Array(rows)) => Ok(rows),
        Some(_) => Err(unreadable(method, "the result is no array".to_owned())),
    }
}

/// The rows that can be read. One that cannot does not hide the others: it is counted and told.
pub(super) fn read_all<T>(
    method: Method,
    rows: Vec<Value>,
    read: impl Fn(Value) -> Result<T, String>,
) -> Vec<T> {
    let read = rows.into_iter().filter_map(|row| match read(row) {
        Ok(row) => Some(row),
        Err(why) => {
            tracing::error!(method = %method, why, "MyAdmin sent a row that cannot be read: it is left out");
            metrics::count_unreadable(method.name());
            None
        }
    });
    read.collect()
}
