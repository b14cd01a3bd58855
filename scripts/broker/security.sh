# Sourced by scripts/kafka: listeners with TLS and SASL for an instance, with a certificate authority, a certificate and a
# user of its own. For tests on loopback: the password lies in a file beside the instance's data.

SASL_USER=carrier

# One line per listener the instance has beside the plain one.
security_listeners() { cat "$(place)/security" 2>/dev/null || true; }

listener_port() { cat "$(place)/port-$1"; }

# remember_security ssl,sasl_ssl: which listeners the instance has from this start on.
remember_security() {
    local dir name wanted=()
    dir=$(place)
    IFS=, read -r -a wanted <<<"$1"
    for name in "${wanted[@]}"; do
        case $name in
            ssl | sasl_ssl | sasl_plaintext) ;;
            *) die "--security '$name': ssl, sasl_plaintext or sasl_ssl, or several with commas" ;;
        esac
    done
    if [[ $1 == *sasl* ]] && [ ! -f "$dir/sasl-password" ]; then
        # The users of SCRAM are written when the storage is formatted.
        [ ! -d "$dir/data" ] || die "instance '$instance' has data and no users; start it with --fresh"
        (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' 'ab' >"$dir/sasl-password")
    fi
    printf '%s\n' "${wanted[@]}" >"$dir/security"
}

claim_security_ports() {
    local name
    for name in $(security_listeners); do
        [ -f "$(place)/port-$name" ] && continue
        claim_port >"$(place)/port-$name.new" && mv "$(place)/port-$name.new" "$(place)/port-$name"
    done
}

# An authority and a certificate for this machine's loopback, made once per instance.
make_certificates() {
    local tls
    security_listeners | grep -q ssl || return 0
    tls=$(place)/tls
    [ ! -f "$tls/server.pem" ] || return 0
    need openssl openssl
    rm -rf "$tls"
    mkdir -p "$tls"
    (
        cd "$tls"
        umask 077
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=authority of $instance" \
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$instance" -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.crt
        # The order Kafka reads: the key, then the chain.
        cat server.key server.crt ca.pem >server.pem
        chmod 644 ca.pem
    ) >"$tls.out" 2>&1 || die "cannot make the certificates: $(cat "$tls.out")"
}

security_suffix() {
    local name
    for name in $(security_listeners); do
        printf ',%s://127.0.0.1:%s' "${name^^}" "$(listener_port "$name")"
    done
}

security_settings() {
    local name password module=org.apache.kafka.common.security
    [ -n "$(security_listeners)" ] || return 0
    if security_listeners | grep -q ssl; then
        printf 'ssl.keystore.type=PEM\nssl.keystore.location=%s\n' "$(place)/tls/server.pem"
    fi
    security_listeners | grep -q sasl || return 0
    password=$(cat "$(place)/sasl-password")
    echo "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
    for name in $(security_listeners | grep sasl); do
        echo "listener.name.$name.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_$SASL_USER=\"$password\";"
        echo "listener.name.$name.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;"
        echo "listener.name.$name.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;"
    done
}

# Arguments of the storage's formatting.
security_users() {
    local mechanism
    [ -f "$(place)/sasl-password" ] || return 0
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
        printf '%s\n' --add-scram "$mechanism=[name=$SASL_USER,password=$(cat "$(place)/sasl-password")]"
    done
}

# security_env LISTENER: what a client of that listener needs, as our settings.
security_env() {
    security_listeners | grep -qx "$1" || die "instance '$instance' has no $1 listener; start it with --security $1"
    printf 'export BROKERS=127.0.0.1:%s\n' "$(listener_port "$1")"
    printf 'export DIG_INGEST__KAFKA__BROKERS=127.0.0.1:%s\n' "$(listener_port "$1")"
    printf 'export DIG_INGEST__KAFKA__SECURITY_PROTOCOL=%s\n' "$1"
    [[ $1 != *ssl ]] || printf 'export DIG_INGEST__KAFKA__CA_FILE=%q\n' "$(place)/tls/ca.pem"
    [[ $1 != sasl* ]] || printf 'export DIG_INGEST__KAFKA__SASL_USERNAME=%s\nexport DIG_INGEST__KAFKA__SASL_PASSWORD_FILE=%q\n' \
        "$SASL_USER" "$(place)/sasl-password"
}
