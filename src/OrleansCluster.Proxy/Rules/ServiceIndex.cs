using System.Collections.Immutable;

namespace OrleansCluster.Proxy.Rules;

/// <summary>
/// Services and slices as last reported, and the rules that follow. Only services that a change concerns are computed
/// again, and a recomputed rule with equal content keeps its old instance, so consumers may compare by reference
/// before they compare anything else. Not thread-safe: the caller locks.
/// </summary>
internal sealed class ServiceIndex(IReadOnlySet<string> localNodes)
{
    private readonly Dictionary<ObjectKey, ServiceView> _services = [];
    private readonly Dictionary<ObjectKey, EndpointSliceView> _slices = [];
    private readonly Dictionary<ObjectKey, SortedDictionary<string, EndpointSliceView>> _slicesByService = [];
    private readonly Dictionary<ObjectKey, ImmutableArray<ServiceRule>> _rules = [];
    private readonly HashSet<ObjectKey> _stale = [];

    /// <summary>Namespace and name of a Service or an EndpointSlice.</summary>
    internal readonly record struct ObjectKey(string Namespace, string Name);

    /// <summary>Number of services that wait to be computed again.</summary>
    public int StaleCount => _stale.Count;

    public void SetService(ObjectKey key, ServiceView? service)
    {
        // A view is replaced whole: whether the change matters is decided on the rule, which has cheap equality.
        if (service is not null)
            _services[key] = service;
        else if (!_services.Remove(key))
            return;
        _stale.Add(key);
    }

    public void SetSlice(ObjectKey key, EndpointSliceView? slice)
    {
        if (_slices.Remove(key, out var old) && old.ServiceName is { } oldOwner)
            Unlink(new ObjectKey(key.Namespace, oldOwner), key.Name);
        if (slice is null)
            return;
        _slices.Add(key, slice);
        if (slice.ServiceName is not { } owner)
            return;
        var service = new ObjectKey(key.Namespace, owner);
        if (!_slicesByService.TryGetValue(service, out var siblings))
            _slicesByService.Add(service, siblings = new SortedDictionary<string, EndpointSliceView>(StringComparer.Ordinal));
        siblings[key.Name] = slice;
        _stale.Add(service);
    }

    /// <summary>Drops what a complete set no longer names.</summary>
    public void RetainOnly(IReadOnlySet<ObjectKey> services, IReadOnlySet<ObjectKey> slices)
    {
        foreach (var gone in _services.Keys.Where(k => !services.Contains(k)).ToArray())
            SetService(gone, null);
        foreach (var gone in _slices.Keys.Where(k => !slices.Contains(k)).ToArray())
            SetSlice(gone, null);
    }

    /// <summary>All rules in the order of their keys.</summary>
    public ImmutableArray<ServiceRule> Rules()
    {
        foreach (var key in _stale)
        {
            if (!_services.TryGetValue(key, out var service))
            {
                _rules.Remove(key);
                continue;
            }

            IEnumerable<EndpointSliceView> slices = _slicesByService.TryGetValue(key, out var own) ? own.Values : [];
            var computed = ServiceRules.Compute(service, slices, localNodes);
            var previous = _rules.GetValueOrDefault(key, []);
            _rules[key] = [.. computed.Select(rule => previous.FirstOrDefault(rule.Equals) ?? rule)];
        }

        _stale.Clear();
        return [.. _rules.Values.SelectMany(static r => r).OrderBy(static r => r.Key)];
    }

    private void Unlink(ObjectKey service, string slice)
    {
        if (_slicesByService.TryGetValue(service, out var siblings) && siblings.Remove(slice) && siblings.Count == 0)
            _slicesByService.Remove(service);
        _stale.Add(service);
    }
}
