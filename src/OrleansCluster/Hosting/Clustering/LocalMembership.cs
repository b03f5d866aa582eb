using System.Globalization;
using System.Net;
using Orleans.Messaging;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>A cluster of several silos and API servers inside one process, for tests: they share one store and one membership table.</summary>
internal sealed class LocalCluster(IObjectStore store)
{
    /// <summary>The store of all of them; whoever made it disposes it.</summary>
    public IObjectStore Store { get; } = store;

    /// <summary>The silos.</summary>
    public LocalMembership Membership { get; } = new();
}

/// <summary>Orleans' membership table in memory, and the list of gateways read from it.</summary>
internal sealed class LocalMembership : IMembershipTable, IGatewayListProvider
{
    private readonly Lock _gate = new();
    private readonly Dictionary<SiloAddress, (MembershipEntry Entry, string ETag)> _rows = [];
    private TableVersion _version = new(0, "0");
    private int _etag;

    /// <inheritdoc/>
    public TimeSpan MaxStaleness => TimeSpan.FromSeconds(1);

    /// <inheritdoc/>
    public bool IsUpdatable => true;

    /// <inheritdoc/>
    public Task InitializeMembershipTable(bool tryInitTableVersion) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task InitializeGatewayListProvider() => Task.CompletedTask;

    /// <inheritdoc/>
    public Task<IList<Uri>> GetGateways() => Task.FromResult<IList<Uri>>([.. Active().Select(e =>
        SiloAddress.New(e.SiloAddress.Endpoint.Address, e.ProxyPort, e.SiloAddress.Generation).ToGatewayUri())]);

    /// <summary>Where clients find the silos that are active.</summary>
    public IReadOnlyList<IPEndPoint> ActiveGateways() => [.. Active().Select(e => new IPEndPoint(e.SiloAddress.Endpoint.Address, e.ProxyPort))];

    private List<MembershipEntry> Active()
    {
        lock (_gate)
            return [.. _rows.Values.Select(r => r.Entry).Where(e => e.Status == SiloStatus.Active && e.ProxyPort > 0)];
    }

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntries(string clusterId)
    {
        Forget();
        return Task.CompletedTask;
    }

    /// <summary>Loses everything, as a store does that restarts without its file.</summary>
    public void Forget()
    {
        lock (_gate)
        {
            _rows.Clear();
            _version = new TableVersion(0, "0");
        }
    }

    /// <summary>Sets the table's version unless it is as high already.</summary>
    public Task RaiseVersionAsync(int version)
    {
        lock (_gate)
        {
            if (_version.Version < version)
                _version = new TableVersion(version, version.ToString(CultureInfo.InvariantCulture));
        }
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate)
    {
        lock (_gate)
        {
            foreach (var (silo, row) in _rows)
            {
                if (row.Entry.Status == SiloStatus.Dead && row.Entry.IAmAliveTime < beforeDate.UtcDateTime)
                    _rows.Remove(silo);
            }
        }
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<MembershipTableData> ReadRow(SiloAddress key)
    {
        lock (_gate)
        {
            return Task.FromResult(_rows.TryGetValue(key, out var row)
                ? new MembershipTableData(Tuple.Create(Copy(row.Entry), row.ETag), _version)
                : new MembershipTableData(_version));
        }
    }

    /// <inheritdoc/>
    public Task<MembershipTableData> ReadAll()
    {
        lock (_gate)
            return Task.FromResult(new MembershipTableData([.. _rows.Values.Select(r => Tuple.Create(Copy(r.Entry), r.ETag))], _version));
    }

    /// <inheritdoc/>
    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion)
    {
        lock (_gate)
            return Task.FromResult(!_rows.ContainsKey(entry.SiloAddress) && Write(entry, tableVersion));
    }

    /// <inheritdoc/>
    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion)
    {
        lock (_gate)
            return Task.FromResult(_rows.TryGetValue(entry.SiloAddress, out var row) && row.ETag == etag && Write(entry, tableVersion));
    }

    /// <inheritdoc/>
    public Task UpdateIAmAlive(MembershipEntry entry)
    {
        lock (_gate)
        {
            if (!_rows.TryGetValue(entry.SiloAddress, out var row))
                throw new KeyNotFoundException($"The membership table has no row of {entry.SiloAddress}.");
            row.Entry.IAmAliveTime = entry.IAmAliveTime;
        }
        return Task.CompletedTask;
    }

    // Caller holds _gate.
    private bool Write(MembershipEntry entry, TableVersion version)
    {
        if (version.VersionEtag != _version.VersionEtag)
            return false;
        _rows[entry.SiloAddress] = (Copy(entry), (++_etag).ToString(CultureInfo.InvariantCulture));
        _version = new TableVersion(version.Version, version.Version.ToString(CultureInfo.InvariantCulture));
        return true;
    }

    private static MembershipEntry Copy(MembershipEntry entry) => new()
    {
        SiloAddress = entry.SiloAddress,
        Status = entry.Status,
        SuspectTimes = entry.SuspectTimes is null ? null : [.. entry.SuspectTimes],
        ProxyPort = entry.ProxyPort,
        HostName = entry.HostName,
        SiloName = entry.SiloName,
        RoleName = entry.RoleName,
        UpdateZone = entry.UpdateZone,
        FaultZone = entry.FaultZone,
        StartTime = entry.StartTime,
        IAmAliveTime = entry.IAmAliveTime,
    };
}
