# Shared by up and node: keys and certificates of a cluster, and kubeconfigs.
# shellcheck shell=bash disable=SC2154 # of lib.sh

pki=$state/pki

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"; }

# certificate NAME SUBJECT [SUBJECT-ALT-NAME]
certificate() {
    key "$1"
    openssl req -new -key "$pki/$1.key" -subj "$2" 2>/dev/null |
        openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/$1.crt" -extfile <(
            echo "keyUsage=critical,digitalSignature"
            echo "extendedKeyUsage=serverAuth,clientAuth"
            [ -z "${3:-}" ] || echo "subjectAltName=$3"
        ) 2>/dev/null
}

user() {
    certificate "$1" "$2"
    cat >"$pki/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $1}}]
clusters: [{name: test, cluster: {server: "https://$api:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
END
    chmod 600 "$pki/$1.kubeconfig"
}
