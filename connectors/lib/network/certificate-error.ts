/**
 * A certificate that could not be verified, or no TLS at the other end: the names of OpenSSL's X509_V_ERR_… and its SSL errors, as
 * Node.js gives them.
 */
const certificateCodes =
  /^(?:CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT|ERROR_IN_C|HOSTNAME_MISMATCH|INVALID_(?:CA|PURPOSE)|PATH_LENGTH_EXCEEDED|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|ERR_TLS_|ERR_SSL_|ERR_OSSL_|EPROTO$)/;

export function isCertificateCode(code: string): boolean {
  return certificateCodes.test(code);
}
