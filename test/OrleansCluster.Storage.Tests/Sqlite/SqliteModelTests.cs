using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Sqlite;

/// <summary>The model test on a file.</summary>
public sealed class SqliteModelTests : StoreModelTests
{
    protected override int Iterations => 300;

    protected override Task<Subject> MakeAsync(int[] steps, FakeTimeProvider time) =>
        Task.FromResult<Subject>(new FileSubject(steps[0] % 3 == 0 ? 0 : steps[0] % 10, time));

    private sealed class FileSubject(int window, FakeTimeProvider time) : Subject
    {
        private readonly string _directory = Directory.CreateTempSubdirectory("store-model-").FullName;

        public override bool LeasesEndWithTheProcess => true;

        public override Task<IObjectStore> OpenAsync() => Task.FromResult<IObjectStore>(SqliteObjectStore.Open(
            new SqliteStoreOptions { Path = Path.Combine(_directory, "s.db"), Durability = StoreDurability.None, WindowCount = window },
            time, NullLogger<SqliteObjectStore>.Instance));

        /// <summary>A write that fails before its COMMIT must change nothing, wherever the store opens its file anew.</summary>
        public override async Task FailAsync(IObjectStore store, IReadOnlyList<string> freeClaims)
        {
            var writer = ((SqliteObjectStore)store).Writer;
            writer.BeforeCommit = _ => throw new IOException("injected");
            await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.CommitAsync(
                Put("failing", 0) with { Claims = freeClaims, Queue = new QueueChange("q", QueueAction.Enqueue) }, Token));
            await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.AdvanceFenceAsync("pods", "f", Token));
            writer.BeforeCommit = null;
        }

        public override ValueTask DisposeAsync()
        {
            Directory.Delete(_directory, recursive: true);
            return ValueTask.CompletedTask;
        }
    }
}
