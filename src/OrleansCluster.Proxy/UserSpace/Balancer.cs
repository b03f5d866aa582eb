using System.Collections.Immutable;
using System.Net;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>Strict round robin over a service port's endpoints, with optional client affinity. Thread-safe.</summary>
internal sealed class Balancer(TimeProvider timeProvider)
{
    // Bound of remembered clients, as in the kernel rules; beyond it, new clients have no affinity.
    private const int MaxClients = 65_535;

    private readonly Lock _lock = new();
    private readonly Dictionary<IPAddress, (IPEndPoint EndPoint, long LastUsed)> _clients = [];
    private ImmutableArray<IPEndPoint> _endpoints = [];
    private TimeSpan? _affinity;
    private int _position;
    private long _lastSweep = timeProvider.GetTimestamp();

    /// <summary>Replaces the endpoints. Unchanged ones keep the position, and clients of surviving ones their affinity.</summary>
    public void Set(ImmutableArray<IPEndPoint> endpoints, TimeSpan? affinity)
    {
        lock (_lock)
        {
            _affinity = affinity;
            if (affinity is null)
                _clients.Clear();
            if (_endpoints.SequenceEqual(endpoints))
                return;
            _endpoints = endpoints;
            _position = 0;
            foreach (var (client, (endpoint, _)) in _clients.ToArray())
            {
                if (!endpoints.Contains(endpoint))
                    _clients.Remove(client);
            }
        }
    }

    /// <summary>True while the endpoint is one to send to.</summary>
    public bool Has(IPEndPoint endpoint)
    {
        lock (_lock)
            return _endpoints.Contains(endpoint);
    }

    /// <summary>The endpoint of a client's next connection; null when there is none.</summary>
    /// <param name="client">The client's address.</param>
    /// <param name="failed">Endpoints that did not accept this connection: they are passed over, and affinity to them is dropped.</param>
    public IPEndPoint? Next(IPAddress client, IReadOnlySet<IPEndPoint>? failed = null)
    {
        lock (_lock)
        {
            var now = timeProvider.GetTimestamp();
            if (_affinity is { } time && failed is null
                && _clients.TryGetValue(client, out var known) && timeProvider.GetElapsedTime(known.LastUsed, now) < time)
            {
                _clients[client] = (known.EndPoint, now);
                return known.EndPoint;
            }

            for (var looked = 0; looked < _endpoints.Length; looked++)
            {
                var endpoint = _endpoints[_position];
                _position = (_position + 1) % _endpoints.Length;
                if (failed?.Contains(endpoint) is true)
                    continue;
                if (_affinity is not null)
                    Remember(client, endpoint, now);
                return endpoint;
            }

            return null;
        }
    }

    // Caller holds the lock.
    private void Remember(IPAddress client, IPEndPoint endpoint, long now)
    {
        if (_affinity is { } time && timeProvider.GetElapsedTime(_lastSweep, now) >= time)
        {
            _lastSweep = now;
            foreach (var (address, (_, lastUsed)) in _clients.ToArray())
            {
                if (timeProvider.GetElapsedTime(lastUsed, now) >= time)
                    _clients.Remove(address);
            }
        }

        if (_clients.Count < MaxClients || _clients.ContainsKey(client))
            _clients[client] = (endpoint, now);
    }
}
