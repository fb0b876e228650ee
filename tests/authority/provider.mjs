// oidc-provider as it comes, with the configuration that the tests need. Nothing of it is replaced or wrapped here: what deviates from a
// well-behaved authorization server (errors, delays, broken connections) is done by front.mjs, before the provider or after it.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

/** What `settings` may say, and what holds where it says nothing. Times are seconds. */
const DEFAULTS = {
  clients: [], // client metadata by their registered names (RFC 7591)
  host: '127.0.0.1', // of the issuer; `localhost` is another site for a browser
  scopes: ['orders:read', 'orders:write'], // beside openid and offline_access
  resources: {}, // resource indicator (RFC 8707) → { scopes: [...] }
  access_token_ttl: 3600,
  refresh_token_ttl: 14 * 24 * 3600,
  code_ttl: 60,
  rotate: true, // a new refresh token at each use
  dpop_nonce: false, // a DPoP proof must carry a nonce of the server (RFC 9449, 8)
  withhold: [], // scopes that the person does not grant, whatever was asked
};

export function settingsOf(given) {
  const unknown = Object.keys(given).filter((key) => !(key in DEFAULTS));
  if (unknown.length > 0) throw new Error(`unknown settings: ${unknown.join(', ')}; known: ${Object.keys(DEFAULTS).join(', ')}`);
  return { ...DEFAULTS, ...given };
}

/** A provider for this issuer. `settings` is read at each request, so that a test may change times and what is withheld. */
export function makeProvider(issuer, settings) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return new Provider(issuer, {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    scopes: ['openid', 'offline_access', ...settings.scopes],
    pkce: { required: () => true },
    rotateRefreshToken: () => settings.rotate,
    // A refresh token for every client that may use one, and for longer than the browser's session.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    loadExistingGrant,
    ttl: {
      AccessToken: () => settings.access_token_ttl,
      ClientCredentials: () => settings.access_token_ttl,
      AuthorizationCode: () => settings.code_ttl,
      RefreshToken: () => settings.refresh_token_ttl,
      DeviceCode: 600,
      Grant: 14 * 24 * 3600,
      IdToken: 3600,
      Interaction: 3600,
      Session: 14 * 24 * 3600,
    },
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      userinfo: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => settings.dpop_nonce },
      resourceIndicators: { enabled: true, getResourceServerInfo, useGrantedResource: () => true },
    },
  });

  // The development pages grant what was asked; a person who grants less is made of a grant that rejects the rest.
  async function loadExistingGrant(ctx) {
    const id = ctx.oidc.result?.consent?.grantId || ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
    const grant = id && (await ctx.oidc.provider.Grant.find(id));
    if (!grant || settings.withhold.length === 0) return grant;
    const withheld = settings.withhold.join(' ');
    grant.rejectOIDCScope(withheld);
    for (const resource of Object.keys(settings.resources)) grant.rejectResourceScope(resource, withheld);
    await grant.save();
    return grant;
  }

  function getResourceServerInfo(_ctx, resource) {
    const known = settings.resources[resource];
    if (!known) throw Object.assign(new Error('invalid_target'), { error: 'invalid_target', status: 400, statusCode: 400, expose: true });
    return { scope: known.scopes.join(' '), accessTokenFormat: 'opaque', accessTokenTTL: settings.access_token_ttl };
  }
}

/** Client metadata with what most tests would say anyway. */
export function clientOf(given) {
  const grants = given.grant_types ?? ['authorization_code', 'refresh_token'];
  return {
    grant_types: grants,
    response_types: grants.includes('authorization_code') ? ['code'] : [],
    redirect_uris: [],
    ...given,
  };
}

/**
 * Tells `say` what the provider did, without any token: codes issued, refresh tokens used twice, grants made and revoked. `acted` is told
 * the grant of the token request with a number (that of the header which front.mjs adds).
 */
export function watch(provider, say, { acted, code, grant }) {
  const number = (ctx) => Number(ctx.get('x-request-number'));
  const spent = new Map();
  provider.on('authorization_code.consumed', (it) => spent.set(it.jti, it));
  provider.on('authorization_code.saved', (it) => {
    code(it.jti);
    if (!it.consumed) say({ event: 'code', client: it.clientId, grant: it.grantId, scope: it.scope ?? '' });
  });
  provider.on('grant.saved', (it) => grant(it.jti, it.clientId, it.accountId));
  provider.on('grant.revoked', (_ctx, id) => say({ event: 'revoked', grant: id }));
  provider.on('grant.success', (ctx) => acted(number(ctx), ctx.oidc.entities.Grant?.jti ?? null));
  provider.on('grant.error', (ctx, error) => {
    const refresh = ctx.oidc?.entities.RefreshToken;
    const code = spent.get(ctx.oidc?.params?.code);
    acted(number(ctx), (refresh ?? code)?.grantId ?? null);
    const again = error.error === 'invalid_grant' && (code ?? (refresh?.consumed ? refresh : undefined));
    if (again) say({ event: 'reuse', what: code ? 'code' : 'refresh_token', client: again.clientId, grant: again.grantId });
    else if (process.env.AUTHORITY_DEBUG) console.error(error.error, error.error_description, error.error_detail);
  });
  provider.on('authorization.error', (ctx, error) => {
    say({ event: 'authorization.error', client: ctx.oidc?.client?.clientId ?? null, error: error.error, detail: error.error_description });
  });
  provider.on('server_error', (_ctx, error) => say({ event: 'server_error', error: String(error?.message) }));
}

/** Revokes a grant with all its tokens, as a person does who withdraws access on the provider's own pages. */
export async function revokeGrant(provider, id) {
  const models = [provider.AccessToken, provider.RefreshToken, provider.AuthorizationCode, provider.DeviceCode];
  for (const model of models) await model.revokeByGrantId(id);
  await provider.Grant.adapter.destroy(id);
}
