using Microsoft.Extensions.DependencyInjection.Extensions;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>
/// Orleans' membership table, made to outlive its store. Redis may lose it (a restart without its file, FLUSHALL, a failover that lost a tail), and the
/// provider then fails for ever on rows that are not there. What this silo has seen last is kept, and a reading that has lost it is mended:
/// <code>
///   reading fails, or its version is older than one seen, or this silo's row is not in it
///     (1) the table's version is set to one above the last seen, unless another silo has done so: Orleans ignores a table that goes back
///     (2) this silo's row is written again, as it was last; every other silo puts its own back in the same way
/// </code>
/// Rows of silos that died before stay lost, which is right. A silo that the others have declared dead keeps its row, so nothing is mended for it and it
/// ends, as Orleans wants.
/// </summary>
internal sealed partial class SteadyMembershipTable(
    IMembershipTable inner, Func<int, Task> raiseVersion, ILocalSiloDetails local, TimeProvider time, ILogger<SteadyMembershipTable> logger) : IMembershipTable
{
    /// <summary>How long a starting silo waits for the store.</summary>
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(2);

    private static readonly TimeSpan StartPause = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private MembershipEntry? _own;
    private int _lastVersion;

    /// <summary>Puts it around the table that is registered.</summary>
    /// <param name="services">The silo's services, with a table.</param>
    /// <param name="raiseVersion">Sets the version of that table unless it is as high already, which the table's interface cannot.</param>
    public static void Decorate(IServiceCollection services, Func<IServiceProvider, Func<int, Task>> raiseVersion)
    {
        var registered = services.Last(s => s.ServiceType == typeof(IMembershipTable));
        services.Replace(ServiceDescriptor.Singleton<IMembershipTable>(provider => new SteadyMembershipTable(
            Make(registered, provider),
            raiseVersion(provider),
            provider.GetRequiredService<ILocalSiloDetails>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<SteadyMembershipTable>>())));
    }

    /// <inheritdoc/>
    public async Task InitializeMembershipTableAsync(bool tryInitTableVersion, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        while (true)
        {
            try
            {
                await inner.InitializeMembershipTableAsync(tryInitTableVersion, cancellationToken);
                return;
            }
            catch (Exception error) when (!cancellationToken.IsCancellationRequested && time.GetElapsedTime(started) < StartLimit)
            {
                Log.StoreAway(logger, error.Message);
                await Task.Delay(StartPause, time, cancellationToken);
            }
        }
    }

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadAllAsync(CancellationToken cancellationToken)
    {
        MembershipTableData? table = null;
        try
        {
            table = await inner.ReadAllAsync(cancellationToken);
        }
        catch (Exception error) when (IsLost(error))
        {
            Log.Unreadable(logger, error.Message);
        }
        if (table is not null && IsWhole(table))
            return Note(table);
        await MendAsync(cancellationToken);
        return Note(await inner.ReadAllAsync(cancellationToken));
    }

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadRowAsync(SiloAddress key, CancellationToken cancellationToken)
    {
        try
        {
            return await inner.ReadRowAsync(key, cancellationToken);
        }
        catch (Exception error) when (IsLost(error))
        {
            Log.Unreadable(logger, error.Message);
            await MendAsync(cancellationToken);
            return await inner.ReadRowAsync(key, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async Task<bool> InsertRowAsync(MembershipEntry entry, TableVersion tableVersion, CancellationToken cancellationToken)
    {
        var done = await inner.InsertRowAsync(entry, tableVersion, cancellationToken);
        if (done)
            NoteWritten(entry, tableVersion);
        return done;
    }

    /// <inheritdoc/>
    public async Task<bool> UpdateRowAsync(MembershipEntry entry, string etag, TableVersion tableVersion, CancellationToken cancellationToken)
    {
        var done = await inner.UpdateRowAsync(entry, etag, tableVersion, cancellationToken);
        if (done)
            NoteWritten(entry, tableVersion);
        return done;
    }

    /// <inheritdoc/>
    public async Task UpdateIAmAliveAsync(MembershipEntry entry, CancellationToken cancellationToken)
    {
        try
        {
            await inner.UpdateIAmAliveAsync(entry, cancellationToken);
        }
        catch (Exception error) when (IsLost(error))
        {
            Log.Unreadable(logger, error.Message);
            await MendAsync(cancellationToken);
        }
        lock (_gate)
        {
            if (_own is not null)
                _own.IAmAliveTime = entry.IAmAliveTime;
        }
    }

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntriesAsync(string clusterId, CancellationToken cancellationToken) => inner.DeleteMembershipTableEntriesAsync(clusterId, cancellationToken);

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntriesAsync(DateTimeOffset beforeDate, CancellationToken cancellationToken) => inner.CleanupDefunctSiloEntriesAsync(beforeDate, cancellationToken);

    // The older half of the interface, without tokens.
    Task IMembershipTable.InitializeMembershipTable(bool tryInitTableVersion) => InitializeMembershipTableAsync(tryInitTableVersion, CancellationToken.None);

    Task<MembershipTableData> IMembershipTable.ReadAll() => ReadAllAsync(CancellationToken.None);

    Task<MembershipTableData> IMembershipTable.ReadRow(SiloAddress key) => ReadRowAsync(key, CancellationToken.None);

    Task<bool> IMembershipTable.InsertRow(MembershipEntry entry, TableVersion tableVersion) => InsertRowAsync(entry, tableVersion, CancellationToken.None);

    Task<bool> IMembershipTable.UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        UpdateRowAsync(entry, etag, tableVersion, CancellationToken.None);

    Task IMembershipTable.UpdateIAmAlive(MembershipEntry entry) => UpdateIAmAliveAsync(entry, CancellationToken.None);

    Task IMembershipTable.DeleteMembershipTableEntries(string clusterId) => DeleteMembershipTableEntriesAsync(clusterId, CancellationToken.None);

    Task IMembershipTable.CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => CleanupDefunctSiloEntriesAsync(beforeDate, CancellationToken.None);

    private static IMembershipTable Make(ServiceDescriptor descriptor, IServiceProvider provider) => (IMembershipTable)(
        descriptor.ImplementationInstance
        ?? descriptor.ImplementationFactory?.Invoke(provider)
        ?? ActivatorUtilities.CreateInstance(provider, descriptor.ImplementationType!));

    // The provider has no error of its own for rows that are not there: it reads absent values. A store that does not answer is another matter.
    private static bool IsLost(Exception error) =>
        error is not (StackExchange.Redis.RedisException or TimeoutException or OperationCanceledException)
        && error.InnerException is not (StackExchange.Redis.RedisConnectionException or StackExchange.Redis.RedisTimeoutException);

    private bool IsWhole(MembershipTableData table)
    {
        lock (_gate)
        {
            return table.Version.Version >= _lastVersion
                && (_own is null or { Status: SiloStatus.Dead } || table.Members.Any(m => m.Item1.SiloAddress.Equals(local.SiloAddress)));
        }
    }

    private async Task MendAsync(CancellationToken cancellationToken)
    {
        MembershipEntry? own;
        int version;
        lock (_gate)
        {
            own = _own;
            version = _lastVersion;
        }
        await raiseVersion(version + 1);
        for (var attempt = 0; attempt < 10 && own is not null && own.Status != SiloStatus.Dead; attempt++)
        {
            var table = await inner.ReadAllAsync(cancellationToken);
            if (table.Members.Any(m => m.Item1.SiloAddress.Equals(local.SiloAddress)))
                return;
            own.IAmAliveTime = time.GetUtcNow().UtcDateTime;
            own.SuspectTimes = [];
            if (await inner.InsertRowAsync(own, table.Version.Next(), cancellationToken))
            {
                Log.Mended(logger, local.SiloAddress.ToString());
                return;
            }
            // Another silo has put its own row back at the same moment.
        }
    }

    private MembershipTableData Note(MembershipTableData table)
    {
        lock (_gate)
            _lastVersion = Math.Max(_lastVersion, table.Version.Version);
        return table;
    }

    private void NoteWritten(MembershipEntry entry, TableVersion version)
    {
        lock (_gate)
        {
            _lastVersion = Math.Max(_lastVersion, version.Version);
            if (entry.SiloAddress.Equals(local.SiloAddress))
                _own = entry;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "The membership store does not answer; trying again: {Error}")]
        public static partial void StoreAway(ILogger logger, string error);

        [LoggerMessage(LogLevel.Warning, "The membership table cannot be read as it is: {Error}")]
        public static partial void Unreadable(ILogger logger, string error);

        [LoggerMessage(LogLevel.Warning, "The membership table had lost {Silo}; its row is back")]
        public static partial void Mended(ILogger logger, string silo);
    }
}
