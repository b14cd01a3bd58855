//! A record as the gateway sees it.

#[derive(serde::Deserialize)]
pub struct Sent {
    #[serde(rename = "SerialNo")]
    pub serial: Option<String>,
    #[serde(rename = "DeviceId")]
    pub device_id: Option<String>,
    #[serde(rename = "Value")]
    pub value: u32,
}

impl Sent {
    pub fn of(record: &[u8]) -> Self {
        serde_json::from_slice(record).expect("valid JSON")
    }

    pub fn device(&self) -> u32 {
        let name = self.serial.as_ref().or(self.device_id.as_ref());
        let name = name.expect("every record names its device");
        name[name.len() - 1..].parse().expect("a digit")
    }
}
