using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace OrleansCluster.Storage.Tests.Transfer;

/// <summary>A place where a store lives, seen from both sides: as the store that serves, and as what is exported and imported.</summary>
public abstract class TransferStore : IAsyncDisposable
{
    protected FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    /// <summary>Opens the store; the caller disposes it.</summary>
    public abstract Task<IObjectStore> OpenAsync();

    /// <summary>What exports, imports and checks it.</summary>
    public abstract IStoreTransfer Transfer();

    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}

/// <summary>An embedded store in a folder of its own.</summary>
public sealed class SqliteTransferStore : TransferStore
{
    private readonly string _directory = Directory.CreateTempSubdirectory("store-transfer-").FullName;

    public string Path => System.IO.Path.Combine(_directory, "store", "objects.db");

    public override Task<IObjectStore> OpenAsync() => Task.FromResult<IObjectStore>(SqliteObjectStore.Open(
        new SqliteStoreOptions { Path = Path, Durability = StoreDurability.ProcessLoss }, Time, NullLogger<SqliteObjectStore>.Instance));

    public override IStoreTransfer Transfer() => new SqliteTransfer(Path, Time);

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
