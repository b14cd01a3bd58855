// The table of rules, included by `rules.rs`. Columns:
// name: id, severity, types, members, check, what may be set, expected, what it says, source.
// The order within a type and member is the order of the checks: the first broken rule that rejects is the one reported.
rules! {
    // The message as a whole.
    MessageSize: "message.size", Reject, [], [], Coded, Named("max_message_bytes"), "a message within max_message_bytes",
        "A message above the limit is not parsed; it is rejected as a whole.", "own limit";
    MessageEmpty: "message.empty", Reject, [], [], Coded, Fixed, "a JSON object or an array of objects",
        "The message is empty or only white space. A null value (tombstone) and an empty array are no error: they hold no record.", "own definition";
    MessageUtf8: "message.utf8", Reject, [], [], Coded, Fixed, "UTF-8 text",
        "The message is not UTF-8; the gateway takes application/json in UTF-8.", "dig-api.md 5.1";
    MessageDepth: "message.depth", Reject, [], [], Coded, Named("max_depth"), "nesting within max_depth",
        "Objects and arrays are nested deeper than the limit.", "own limit";
    MessageJson: "message.json", Reject, [], [], Coded, Fixed, "valid JSON with integers of at most 64 bits and numbers a double can hold",
        "The message is not JSON (RFC 8259), has a lone surrogate escape, or a number that cannot be held: an integer beyond 64 bits, or a float beyond a double's range.", "RFC 8259; dig-api.md 5.11";
    MessageScalar: "message.scalar", Reject, [], [], Coded, Fixed, "a JSON object or an array of objects",
        "The message is a bare string, number, true, false or null.", "dig-api.md 5.1";

    // The record as a whole.
    RecordObject: "record.object", Reject, [], [], Coded, Fixed, "an object",
        "An element of the message's array is not an object. Only that element is rejected.", "dig-api.md 5.1";
    MemberUnknown: "record.member.unknown", Reject, [], [], Coded, Named("unknown_members"), "only members of the record's type",
        "The record has a member its type does not have. With unknown_members = \"drop\" the member is removed and the record sent.", "dig-api.md 5.10, 12 (a)";
    MemberDropped: "record.member.dropped", Normalise, [], [], Coded, Named("unknown_members"), "only members of the record's type",
        "A member its type does not have was removed, as unknown_members = \"drop\" asks for.", "dig-api.md 5.10, 12 (a)";
    MemberDuplicate: "record.member.duplicate", Reject, [], [], Coded, Fixed, "each member once",
        "A member occurs twice, also in different case or once as null: which one counts would be a guess.", "RFC 8259 section 4; dig-api.md 1.6";
    MemberCase: "record.member.case", Normalise, [], [], Coded, Fixed, "names in PascalCase",
        "A member's name is not in the exact case; the record is written anew with exact names.", "dig-api.md 1.6";
    MemberNull: "record.member.null", Normalise, [], [], Coded, Fixed, "no null members",
        "A null member is removed: the gateway's own client omits what it does not know.", "dig-api.md 5.9, 12";
    MemberMissing: "record.member.missing", Reject, [], [], Coded, Fixed, "the member",
        "A required member is absent or null.", "dig-api.md 8, 12";
    MemberJson: "record.member.json", Reject, [], [], Coded, Fixed, "a value of the member's JSON type",
        "The value has the wrong JSON type. An integer is written without fraction and exponent: 5.0 and 5e0 are no integers.", "OpenAPI v3.4.2; dig-api.md 12, U4";
    MemberFloat32: "record.member.float32", Reject, [], [Latitude, Longitude, Speed, Data], Coded, Fixed, "a finite number a 32-bit float can hold",
        "The gateway keeps the value as a 4-byte float; this one is beyond its range.", "OpenAPI v3.4.2; dig-api.md 5.11, 12";
    TypeName: "record.type.name", Reject, [], [Type], Coded, Fixed, "one of the twelve record type names",
        "Type names no record type.", "OpenAPI v3.4.2; dig-api.md 5.12, 8";
    TypeCase: "record.type.case", Normalise, [], [Type], Coded, Fixed, "the type's exact name",
        "Type is not in the exact case; the record is written anew.", "dig-api.md 12";
    DateTimeForm: "record.datetime.form", Reject, [], [DateTime], Coded, Fixed, "RFC 3339, years 0001-9999, 0-7 fraction digits, Z or an offset",
        "DateTime is not an RFC 3339 instant, or names a day or time that does not exist. Leap seconds are refused.", "dig-api.md 6.1, 6.2, 12";
    DateTimeZone: "record.datetime.zone", Reject, [], [DateTime], Coded, Fixed, "Z or an offset such as +01:00",
        "DateTime has no zone. Local time is never guessed.", "dig-api.md 6.3, 12";
    DateTimeUtc: "record.datetime.utc", Normalise, [], [DateTime], Coded, Fixed, "yyyy-MM-ddTHH:mm:ss.ffffffZ",
        "DateTime has an offset or a lower-case t or z; it is written anew in UTC with six digits.", "dig-api.md 6.1, 12";
    DateTimePast: "record.datetime.past", HoldBack, [], [DateTime], Coded, NamedAndSeverity("past_days"), "not older than past_days",
        "The record is older than the window; old records may come back as invalid.", "dig-api.md 6.5, 12 (a), U7";
    DateTimeFuture: "record.datetime.future", HoldBack, [], [DateTime], Coded, NamedAndSeverity("future_s"), "not later than now + future_s",
        "The record lies in the future; a device clock is wrong or a local time wears a Z.", "dig-api.md 6.3, 6.5, 12 (a), U7";
    SerialText: "record.serial.text", Reject, [], [SerialNo], Coded, Fixed, "text without control characters, quotes and backslashes",
        "The serial has characters that no serial has.", "dig-api.md 8, 12";
    SerialLength: "record.serial.length", Reject, [], [SerialNo], Chars(1.0, 50.0), Fixed, "1..50 characters after normalisation",
        "The serial is empty, or longer than the gateway's client can store.", "dig-api.md 8, 12";
    SerialNormalised: "record.serial.normalised", Normalise, [], [SerialNo], Coded, Named("normalise_serial"), "trimmed, without hyphens and U+200B, upper case",
        "White space around the serial, hyphens and zero-width spaces are removed, letters are upper-cased.", "dig-api.md 8, 12 (a)";
    SerialShape: "record.serial.shape", Warn, [], [SerialNo], Coded, Tune::Severity, "twelve of A-Z and 0-9",
        "The serial does not look like a Geotab serial. Published examples differ, so it is only a warning.", "dig-api.md 8, 12, 13";
    SerialActive: "record.serial.active", HoldBack, [], [SerialNo], Elsewhere, Named("[gate]"), "a provisioned device in a database, not terminated",
        "Checked by the gate: a record of a device that is not active is held.", "dig-api.md 11.1-11.6, 12, U5";
    DeviceIdForm: "record.device_id.form", Reject, [], [DeviceId], Coded, Fixed, "a string of 1..128 characters without control characters",
        "DeviceId is not a usable device id. It is looked up trimmed, otherwise as it is.", "own definition";
    DeviceIdDropped: "record.device_id.dropped", Normalise, [], [DeviceId], Coded, Fixed, "SerialNo or DeviceId",
        "The record has both SerialNo and DeviceId: SerialNo counts, DeviceId is removed unread.", "own definition";

    // GpsRecord.
    LatitudeRange: "gps.latitude.range", HoldBack, [T::Gps], [Latitude], Within(-90.0, 90.0), Bounds, "-90..90",
        "Latitude in degrees.", "dig-api.md 12 (a), U20";
    LongitudeRange: "gps.longitude.range", HoldBack, [T::Gps], [Longitude], Within(-180.0, 180.0), Bounds, "-180..180",
        "Longitude in degrees.", "dig-api.md 12 (a), U20";
    GpsZero: "gps.position.zero", Warn, [T::Gps], [Latitude, Longitude], Coded, Tune::Severity, "a position other than 0, 0",
        "Latitude and Longitude are both exactly 0 while IsGpsValid is true: most likely a device without a fix.", "dig-api.md 12 (a)";
    SpeedNegative: "gps.speed.negative", HoldBack, [T::Gps], [Speed], Within(0.0, f64::INFINITY), Tune::Severity, "0 or more",
        "Speed in km/h is negative.", "dig-api.md 12, U19";
    SpeedHigh: "gps.speed.high", Warn, [T::Gps], [Speed], Within(f64::NEG_INFINITY, 300.0), Bounds, "..300",
        "Speed in km/h is above what vehicles drive; perhaps another unit or a sentinel.", "dig-api.md 8, 12 (a), U19";
    GpsValidAbsent: "gps.is_gps_valid.absent", Warn, [T::Gps], [IsGpsValid], Coded, Tune::Severity, "true or false",
        "IsGpsValid is absent, which acts as false: the device shows as stopped and rules ignore the point.", "dig-api.md 8, 12";
    GpsIgnitionAbsent: "gps.is_ignition_on.absent", Warn, [T::Gps], [IsIgnitionOn], Coded, Tune::Severity, "true or false",
        "IsIgnitionOn is absent; it decides trips.", "dig-api.md 8, 12, U30";

    // AccelerationRecord.
    AccelerationRange: "acceleration.axis.range", Reject, [T::Acceleration], [X, Y, Z], Within(-32768.0, 32767.0), Fixed, "-32768..32767",
        "Acceleration in milli-g, a 16-bit integer.", "OpenAPI v3.4.2 AccelerationRecord; dig-api.md 8, 12";

    // StatusRecord and GenericStatusRecord.
    StatusCodeInt32: "status.code.int32", Reject, [T::Status, T::GenericStatus], [Code], INT32, Fixed, "-2147483648..2147483647",
        "Code is a 32-bit integer.", "dig-api.md 12, U23";
    StatusCodeDropped: "status.code.dropped", Reject, [T::Status], [Code], Outside(128.0, 1999.0), Named("status_code_allow"), "0..127 or 2000 and more, or a code in status_code_allow",
        "The gateway accepts codes 128..1999 of a status record and drops them silently. Codes agreed with Geotab go into status_code_allow.", "OpenAPI v3.4.2 StatusRecord; dig-api.md 5.8, 12, 13, U22";
    GenericStatusCodeDropped: "generic_status.code.dropped", Reject, [T::GenericStatus], [Code], Outside(128.0, 1999.0), Fixed, "0..127 or 2000 and more",
        "The gateway accepts codes 128..1999 of a generic status record and drops them silently.", "ADP README 5.1; dig-api.md 5.8, 8, 12";
    StatusCodeUnusual: "status.code.unusual", Warn, [T::Status, T::GenericStatus], [Code], Within(0.0, 65535.0), Bounds, "0..65535",
        "Known codes are not negative and fit 16 bits.", "dig-api.md 12 (a), U23";
    StatusValueInt32: "status.value.int32", HoldBack, [T::Status], [Value], INT32, Bounds, "-2147483648..2147483647",
        "Value is most likely kept as a 32-bit integer.", "dig-api.md 12 (a), U23";
    GenericStatusValueInt32: "generic_status.value.int32", Reject, [T::GenericStatus], [Value], INT32, Bounds, "-2147483648..2147483647",
        "Value is the raw integer before conversion, most likely kept in 32 bits.", "dig-api.md 12 (a), U23";

    GenericStatusCodeUnknown: "generic_status.code.unknown", Warn, [T::GenericStatus], [Code], Coded, Tune::Severity, "the code of a known diagnostic",
        "No diagnostic of the shipped table (dig-ingest knows those Geotab published) or of your own has this code.", "dig-api.md 8, 9, 12";
    GenericStatusValueLength: "generic_status.value.length", Warn, [T::GenericStatus], [Value], Coded, Tune::Severity, "a raw value that fits the diagnostic's data length",
        "Value does not fit the bytes the diagnostic is said to have, read as signed or as unsigned. Is it the physical value instead of the raw one?", "dig-api.md 9, 12";

    // GenericFaultRecord.
    GenericFaultCode: "generic_fault.code.range", Reject, [T::GenericFault], [Code], Within(128.0, 1999.0), Fixed, "128..1999",
        "Codes outside 128..1999 are accepted and dropped silently.", "OpenAPI v3.4.2 GenericFaultRecord; dig-api.md 5.8, 8, 12";
    GenericFaultStateAbsent: "generic_fault.fault_state_active.absent", Warn, [T::GenericFault], [FaultStateActive], Coded, Tune::Severity, "true or false",
        "FaultStateActive is absent, which the gateway takes for false.", "dig-api.md 8, 12";

    // J1708FaultRecord.
    J1708MessageId: "j1708.message_id.range", Reject, [T::J1708Fault], [MessageId], Within(0.0, 255.0), Fixed, "0..255",
        "The identifier of the component that sent the message.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 12";
    J1708ParameterId: "j1708.parameter_id.range", Reject, [T::J1708Fault], [ParameterId], Within(0.0, 511.0), Fixed, "0..511",
        "The parameter id, when no subsystem is named.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 12";
    J1708SubsystemId: "j1708.subsystem_id.range", Reject, [T::J1708Fault], [SubsystemId], Within(0.0, 511.0), Fixed, "0..511",
        "The subsystem id, when no parameter is named.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 12";
    J1708FailureMode: "j1708.failure_mode.range", Reject, [T::J1708Fault], [FailureModeIdentifier], Within(0.0, 15.0), Fixed, "0..15",
        "The failure mode identifier.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 12";
    J1708Occurrences: "j1708.occurrence_count.range", Reject, [T::J1708Fault], [OccurrenceCount], Within(0.0, 255.0), Fixed, "0..255",
        "How often the fault occurred.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 12";
    J1708One: "j1708.parameter_or_subsystem.one", HoldBack, [T::J1708Fault], [ParameterId, SubsystemId], Coded, Tune::Severity, "exactly one of ParameterId and SubsystemId",
        "Each is described as without the other, so exactly one should be there.", "OpenAPI v3.4.2 J1708FaultRecord; dig-api.md 8, 12 (a)";

    // J1939FaultRecord.
    J1939Spn: "j1939.suspect_parameter_number.range", HoldBack, [T::J1939Fault], [SuspectParameterNumber], Within(0.0, 524_287.0), Bounds, "0..524287",
        "SAE J1939 gives a suspect parameter number 19 bits.", "dig-api.md 8, 12 (a)";
    J1939FailureMode: "j1939.failure_mode.range", Reject, [T::J1939Fault], [FailureModeIdentifier], Within(0.0, 255.0), Fixed, "0..255",
        "The failure mode identifier, 8 bits.", "OpenAPI v3.4.2 J1939FaultRecord; dig-api.md 12";
    J1939FailureModeHigh: "j1939.failure_mode.high", Warn, [T::J1939Fault], [FailureModeIdentifier], Within(f64::NEG_INFINITY, 31.0), Bounds, "..31",
        "SAE J1939 gives a failure mode five bits.", "dig-api.md 8, 12 (a), 13";
    J1939Occurrences: "j1939.occurrence_count.range", Reject, [T::J1939Fault], [OccurrenceCount], Within(0.0, 255.0), Fixed, "0..255",
        "How often the fault occurred.", "OpenAPI v3.4.2 J1939FaultRecord; dig-api.md 12";
    J1939Source: "j1939.source_address.range", Reject, [T::J1939Fault], [SourceAddress], Within(0.0, 255.0), Fixed, "0..255",
        "The address of the controller application.", "OpenAPI v3.4.2 J1939FaultRecord; dig-api.md 12";

    // ObdiiFaultRecord.
    ObdiiLength: "obdii.code.length", Reject, [T::ObdiiFault], [Code], Chars(1.0, 10.0), BoundsOnly, "1..10 characters",
        "The trouble code is empty or longer than Geotab's adapter stores.", "dig-api.md 8, 12 (a)";
    ObdiiShape: "obdii.code.shape", Warn, [T::ObdiiFault], [Code], Coded, Tune::Severity, "one of P, C, B, U and four hexadecimal digits",
        "The trouble code does not look like P0301.", "dig-api.md 8, 12 (a)";

    // DriverChangeRecord.
    KeyTypeRange: "driver_change.key_type.range", Reject, [T::DriverChange], [KeyType], Within(0.0, 255.0), Fixed, "0..255",
        "The key type.", "OpenAPI v3.4.2 DriverChangeRecord; dig-api.md 12";
    KeyTypeUsual: "driver_change.key_type.usual", Warn, [T::DriverChange], [KeyType], Within(84.0, 84.0), Bounds, "84",
        "84 is the custom key, the one to use with the gateway.", "dig-api.md 8, 12";
    DriverIdBase64: "driver_change.driver_id.base64", Reject, [T::DriverChange], [DriverId], Coded, Fixed, "standard Base64 with padding",
        "DriverId is the driver's key in Base64.", "OpenAPI v3.4.2 DriverChangeRecord; dig-api.md 8, 12";
    DriverIdSize: "driver_change.driver_id.size", Reject, [T::DriverChange], [DriverId], Within(1.0, 239.0), Named("strict_base64"), "1..239 bytes decoded (strict_base64: at most 239 characters encoded)",
        "The published limit of 239 is bytes to some and characters to others; strict_base64 = true takes it for characters.", "OpenAPI v3.4.2 DriverChangeRecord; dig-api.md 12, 13";
    DriverChangeFuture: "driver_change.datetime.future", HoldBack, [T::DriverChange], [DateTime], Coded, Tune::Severity, "not in the future",
        "MyGeotab does not take driver changes dated in the future.", "dig-api.md 6.5, 12 (a)";

    // BinaryRecord.
    BinaryBase64: "binary.data.base64", Reject, [T::Binary], [Data], Coded, Fixed, "standard Base64 with padding",
        "Data is Base64.", "OpenAPI v3.4.2 BinaryRecord; dig-api.md 12";
    BinarySize: "binary.data.size", Reject, [T::Binary], [Data], Within(1.0, 32_745.0), Named("strict_base64"), "1..32745 bytes decoded (strict_base64: at most 32745 characters encoded)",
        "The published limit of 32745 is bytes to some and characters to others; strict_base64 = true takes it for characters.", "OpenAPI v3.4.2 BinaryRecord; dig-api.md 8, 12, 13";

    // BluetoothRecord.
    AddressForm: "bluetooth.address.form", Reject, [T::Bluetooth], [Address], Coded, Fixed, "six pairs of hexadecimal digits, e.g. FF:FF:FF:00:AA:9B",
        "The sensor's address cannot be read.", "OpenAPI v3.4.2 BluetoothRecord; dig-api.md 8, 12";
    AddressNormalised: "bluetooth.address.normalised", Normalise, [T::Bluetooth], [Address], Coded, Fixed, "upper-case pairs with colons",
        "The address is written anew with colons and in upper case.", "dig-api.md 12";
    DataTypeRange: "bluetooth.data_type.range", Reject, [T::Bluetooth], [DataType], Within(0.0, 255.0), Fixed, "0..255",
        "The type of the data.", "OpenAPI v3.4.2 BluetoothRecord; dig-api.md 12";
    DataTypeUnusual: "bluetooth.data_type.unusual", Warn, [T::Bluetooth], [DataType], Within(5.0, 23.0), Bounds, "5..23",
        "The numbers known from Geotab's beacons are 5..23; the gateway's own list is not published.", "dig-api.md 8, U21";

    // VinRecord.
    VinLength: "vin.length.range", Reject, [T::Vin], [VehicleIdentificationNumber], Chars(1.0, 17.0), BoundsOnly, "1..17 characters after trimming",
        "The VIN is empty or longer than Geotab's adapter stores.", "dig-api.md 8, 12 (a), U28";
    VinNormalised: "vin.normalised", Normalise, [T::Vin], [VehicleIdentificationNumber], Coded, Fixed, "trimmed, upper case",
        "The VIN is trimmed and upper-cased.", "dig-api.md 12";
    VinShort: "vin.length.usual", Warn, [T::Vin], [VehicleIdentificationNumber], Coded, Tune::Severity, "17 characters",
        "A VIN has 17 characters since 1981.", "dig-api.md 12, U28";
    VinAlphabet: "vin.alphabet", Warn, [T::Vin], [VehicleIdentificationNumber], Coded, Tune::Severity, "digits and letters without I, O and Q",
        "The VIN has a character that ISO 3779 does not know. The gateway does not seem to mind.", "dig-api.md 8, 12";
    VinCheckDigit: "vin.check_digit", Warn, [T::Vin], [VehicleIdentificationNumber], Coded, Tune::Severity, "a matching check digit in place nine",
        "The ninth character is not the check digit; only North American VINs have one.", "dig-api.md 12";
}
