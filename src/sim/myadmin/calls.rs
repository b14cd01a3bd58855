//! What the methods do: each a few lines over the market, in the wire's own shapes (myadmin/API.md sections 2 and 3.3).

use serde_json::{Value, json};

use super::envelope::{Request, success};
use super::methods::Version;
use super::params::Params;
use super::probes;
use crate::sim::answers::Answer;
use crate::sim::faults::Loss;
use crate::sim::instants;
use crate::sim::market::{Device, Outcome, Refused, Settings, Stage, Thrown, User, sheet};
use crate::sim::operation::Operation;
use crate::sim::world::World;

/// What a call says: a result, or that its answer gets lost.
#[derive(Debug, Default)]
pub struct Said {
    pub result: Option<Value>,
    pub pagination: Option<Value>,
    pub lost: Option<Loss>,
}

impl Said {
    pub fn value(result: Value) -> Self {
        Self {
            result: Some(result),
            ..Self::default()
        }
    }

    /// Rows of the result, for the limit on data.
    pub fn rows(&self) -> u64 {
        self.result
            .as_ref()
            .and_then(Value::as_array)
            .map_or(0, |rows| rows.len() as u64)
    }

    pub fn into_answer(self, settings: &Settings) -> Answer {
        success(self.result, self.pagination, settings.null_members)
    }
}

/// A refused act as an exception.
pub fn thrown(refused: &Refused) -> Thrown {
    match refused {
        Refused::Missing { .. } => Thrown::new("ArgumentException", refused.to_string()),
        Refused::Conflict(_) => Thrown::new("InvalidOperationException", refused.to_string()),
        Refused::Wrong(_) => Thrown::new(
            "MyAdminException",
            format!("illegal_field_value: {refused}"),
        ),
    }
}

fn user_shape(user: &User, session: Option<uuid::Uuid>, last_logon_us: Option<i64>) -> Value {
    let accounts: Vec<_> = user
        .accounts
        .iter()
        .map(|erp_no| json!({"accountId": erp_no, "currency": {"code": "USD", "name": "US Dollars"}}))
        .collect();
    let roles: Vec<_> = user
        .roles
        .iter()
        .map(|role| json!({"comments": format!("May act as {role}"), "name": role}))
        .collect();
    json!({
        "userId": user.id.to_string(),
        "sessionId": session.map(|session| session.to_string()),
        "lastLogonDate": last_logon_us.map(instants::millis),
        "accounts": accounts,
        "roles": roles,
        "name": user.name,
    })
}

/// `Authenticate`: the result's `userId` is the key of all other calls.
pub fn authenticate(world: &World, params: &Params<'_>, now: i64) -> Result<Said, Thrown> {
    let name = params.needed_text("username")?;
    let password = params.needed_text("password")?;
    let user = world.market().user(name).cloned().ok_or_else(|| {
        Thrown::new(
            "WebServerInvokerJSONException",
            format!("'UnknownUser: {name}'"),
        )
    })?;
    if user.password != password {
        return Err(Thrown::new(
            "UserAuthenticationException",
            "The user name or password is incorrect.",
        ));
    }
    let (session, before) = world.logins().open(&user, now);
    Ok(Said::value(user_shape(&user, Some(session), before)))
}

/// A call of somebody who may make it.
pub struct Caller<'a> {
    pub world: &'a World,
    pub user: &'a User,
    pub version: Version,
    pub settings: &'a Settings,
    pub now: i64,
}

const MOST_BULK: i64 = 1000;

impl Caller<'_> {
    pub fn call(&self, operation: Operation, request: &Request) -> Result<Said, Thrown> {
        let params = request.params();
        match operation {
            Operation::GetUser => self.get_user(params),
            Operation::ProvisionDevice => self.provision(params, false),
            Operation::ProvisionDeviceToAccount => self.provision(params, true),
            Operation::ProvisionDevicesBulk => self.provision_bulk(params),
            Operation::GetDeviceDatabaseNames => self.database_names(params),
            Operation::GetCurrentDeviceDatabases => self.current_databases(params),
            Operation::GetPartnerDeviceContracts => self.partner_devices(params),
            Operation::GetDeviceContracts => self.contracts(params, request.pagination.as_ref()),
            Operation::GetDeviceContractsByPage => self.contracts_by_page(params),
            Operation::GetTerminationReasons => Ok(Said::value(reasons())),
            Operation::TerminateDeviceBilling => self.terminate(params),
            Operation::CancelDeviceTermination => self.cancel_termination(params),
            Operation::GetOnlineOrderStatus => self.order_status(params),
            Operation::LookupDevice => self.lookup(params),
            Operation::GetCountries => Ok(Said::value(probes::countries())),
            Operation::GetDevicePlans => Ok(Said::value(probes::plans())),
            Operation::GetDeviceJurisdiction => self.jurisdictions(params),
            Operation::GetSharedDatabases => self.shared_databases(params),
            _ => Err(Thrown::new(
                "MissingMethodException",
                "An error has occurred",
            )),
        }
    }

    /// An account the caller belongs to.
    pub fn account<'p>(&self, params: Params<'p>) -> Result<&'p str, Thrown> {
        let erp_no = params
            .text("forAccount")?
            .filter(|erp_no| !erp_no.is_empty())
            .ok_or_else(|| Thrown::new("MyAdminException", "forAccount not provided!"))?;
        if self.belongs_to(erp_no) {
            Ok(erp_no)
        } else {
            Err(Thrown::new(
                "SecurityException",
                format!("The user does not belong to account {erp_no}."),
            ))
        }
    }

    fn belongs_to(&self, erp_no: &str) -> bool {
        self.user
            .accounts
            .iter()
            .any(|own| own.eq_ignore_ascii_case(erp_no))
    }

    fn own_account(&self) -> &str {
        self.user.accounts.first().map_or("", String::as_str)
    }

    fn get_user(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let email = params.needed_text("email")?;
        if !email.eq_ignore_ascii_case(&self.user.name) {
            return Err(Thrown::new(
                "SecurityException",
                "Only the own user may be read.",
            ));
        }
        Ok(Said::value(user_shape(self.user, None, None)))
    }

    fn make(&self, params: Params<'_>, to_account: bool) -> Result<Outcome, Thrown> {
        let product_id = params.needed_integer("productId")?;
        params.integer("hardwareId")?;
        params.text("promoCode")?;
        params.text("subPlan")?;
        let erp_no = if to_account {
            params.text("erpNo")?
        } else {
            None
        };
        Ok(self
            .world
            .market_mut()
            .provision(product_id, erp_no, self.own_account(), self.now))
    }

    fn provision(&self, params: Params<'_>, to_account: bool) -> Result<Said, Thrown> {
        Ok(match self.make(params, to_account)? {
            Outcome::Made(serial) => Said::value(made(&serial)),
            Outcome::Declined(text) => Said::value(declined(&text)),
            Outcome::Nothing => Said::default(),
            Outcome::Thrown { thrown, .. } => return Err(thrown),
            Outcome::Lost { how, .. } => Said {
                lost: Some(how),
                ..Said::default()
            },
        })
    }

    /// One by one: what was made before one of them throws or loses its answer stays made.
    fn provision_bulk(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let quantity = params.integer("quantity")?.unwrap_or(1);
        if !(1..=MOST_BULK).contains(&quantity) {
            return Err(Thrown::new(
                "ArgumentException",
                format!("Parameter 'quantity': 1 to {MOST_BULK} expected."),
            ));
        }
        let (mut results, mut lost) = (Vec::new(), None);
        for _ in 0..quantity {
            match self.make(params, true)? {
                Outcome::Made(serial) => results.push(made(&serial)),
                Outcome::Declined(text) => results.push(declined(&text)),
                Outcome::Nothing => {}
                Outcome::Thrown { thrown, .. } => return Err(thrown),
                Outcome::Lost { how, .. } => lost = Some(how),
            }
        }
        Ok(Said {
            result: (!results.is_empty()).then_some(Value::Array(results)),
            pagination: None,
            lost,
        })
    }

    pub fn serials<'p>(&self, params: Params<'p>, name: &str) -> Result<Vec<&'p str>, Thrown> {
        let serials = params.texts(name)?.unwrap_or_default();
        if serials.is_empty() || serials.len() > self.settings.most_serials {
            return Err(Thrown::new(
                "ArgumentException",
                format!(
                    "Parameter '{name}': 1 to {} serial numbers expected.",
                    self.settings.most_serials
                ),
            ));
        }
        Ok(serials)
    }

    fn database_names(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serials = self.serials(params, "serialNumbers")?;
        let rows = self.world.market().databases(&serials, self.now);
        let row = |row: crate::sim::market::DeviceDatabase| {
            json!({
                "serialNo": row.serial,
                "ownerDatabaseName": row.owner,
                "sharedDatabaseName": row.shared,
            })
        };
        Ok(Said::value(rows.into_iter().map(row).collect()))
    }

    fn partner_devices(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let only = params
            .text("databaseFilter")?
            .filter(|name| !name.is_empty());
        let market = self.world.market();
        let rows = market.partner_devices_of(Some(self.own_account()), self.now);
        let wanted = |database: &Option<String>| {
            only.is_none_or(|name| {
                database
                    .as_ref()
                    .is_some_and(|is| is.eq_ignore_ascii_case(name))
            })
        };
        Ok(Said::value(
            rows.into_iter()
                .filter(|row| wanted(&row.database))
                .take(self.settings.most_rows)
                .map(|row| {
                    json!({
                        "serialNumber": row.serial,
                        "productCode": row.product_code,
                        "database": row.database,
                    })
                })
                .collect(),
        ))
    }

    /// A device the caller may act on.
    fn own_device(&self, serial: &str) -> Result<(), Thrown> {
        let market = self.world.market();
        let device = market
            .device(serial)
            .ok_or_else(|| Thrown::new("ArgumentException", format!("Unknown device {serial}.")))?;
        if self.belongs_to(&device.account) {
            Ok(())
        } else {
            Err(Thrown::new(
                "SecurityException",
                format!("The user may not act on device {serial}."),
            ))
        }
    }

    fn terminate(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serial = params.needed_text("serialNo")?;
        let reason = params.needed_integer("reasonId")?;
        let comments = params.text("comments")?.ok_or_else(|| {
            Thrown::new(
                "ArgumentException",
                "Parameter 'comments': a string expected.",
            )
        })?;
        if sheet::reason(reason).is_none() {
            return Err(Thrown::new(
                "ArgumentException",
                format!("Unknown reason {reason}."),
            ));
        }
        self.own_device(serial)?;
        self.world
            .market_mut()
            .terminate(serial, reason, comments, &self.user.name, self.now)
            .map_err(|refused| thrown(&refused))?;
        Ok(Said::default())
    }

    fn cancel_termination(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serials = self.serials(params, "serialNumbers")?;
        let mut rows = Vec::new();
        for serial in serials {
            self.own_device(serial)?;
            let done = self.world.market_mut().cancel_termination(serial, self.now);
            rows.push(json!({
                "serialNumber": serial,
                "success": done.is_ok(),
                "error": done.err().map(|refused| refused.to_string()),
            }));
        }
        Ok(Said::value(Value::Array(rows)))
    }

    fn order_status(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let account = self.account(params)?;
        let po = params.text("purchaseOrderNo")?;
        let number = params.text("orderNo")?;
        let cancelled = params.flag("includeCancelledOrders")?;
        let market = self.world.market();
        let orders = market.all_orders().filter(|order| {
            order.account.eq_ignore_ascii_case(account)
                && po.is_none_or(|po| order.purchase_order_number == po)
                && number.is_none_or(|number| order.order_header_id.to_string() == number)
                && (cancelled || order.stage != Stage::Cancelled)
        });
        let shape = |order: &crate::sim::market::Order| {
            let units: Vec<_> = order
                .units
                .iter()
                .map(|unit| json!({"productCode": unit.product_code, "quantity": 1, "itemStatus": order.status}))
                .collect();
            let shipped = order.tracking.as_ref().map(|tracking| {
                json!([{
                    "purchaseOrderNo": order.purchase_order_number,
                    "erpReference": order.shipment_reference,
                    "shipDate": order.fulfilled_us.map(instants::millis),
                    "trackingNo": tracking,
                }])
            });
            json!({
                "account": {"accountId": order.account},
                "orderNo": order.order_header_id.to_string(),
                "purchaseOrderNo": order.purchase_order_number,
                "orderDate": instants::millis(order.ordered_us),
                "orderSource": "Marketplace",
                "onHold": order.stage == Stage::Requested,
                "currentOrderStatus": format!("{:?}", order.stage),
                "comments": order.comment,
                "onlineOrderItems": units,
                "shipItems": shipped,
            })
        };
        Ok(Said::value(orders.map(shape).collect()))
    }

    fn lookup(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serial = params.needed_text("serialNo")?;
        let market = self.world.market();
        let device = market
            .device(serial)
            .filter(|device| device.visible(self.now));
        Ok(device.map_or_else(Said::default, |device: &Device| {
            Said::value(json!({
                "serialNo": device.serial,
                "productCode": device.product_code,
                "databaseName": device.shown_owner(self.now),
                "firstCommunication": device.billing.started_us.map(instants::millis),
            }))
        }))
    }
}

fn made(serial: &str) -> Value {
    json!({"isSuccess": true, "serialNo": serial})
}

fn declined(text: &str) -> Value {
    json!({"isSuccess": false, "error": text})
}

fn reasons() -> Value {
    sheet::REASONS
        .iter()
        .map(|(id, name)| {
            json!({"id": id, "name": name, "devicePlanId": 5, "parentId": null, "sortId": id})
        })
        .collect()
}
